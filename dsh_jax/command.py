"""What the small commands share: flags, one-line errors, a quiet start."""

import argparse
import difflib
import os
import sys
from collections.abc import Callable, Sequence
from typing import NoReturn

from dsh_jax import errors

EXIT_USER_ERROR = 2


class Parser(argparse.ArgumentParser):
  """A parser whose errors are one line and suggest the nearest flag."""

  def __init__(self, name: str, description: str):
    """Makes a parser.

    Args:
      name: Module of the command, such as "dsh_jax.search".
      description: What it does, and an example.
    """
    super().__init__(
      prog=f"python -m {name}",
      description=description,
      formatter_class=argparse.RawDescriptionHelpFormatter,
      allow_abbrev=False,
    )

  def parse_args(self, args=None, namespace=None):
    """Parses the command line.

    Args:
      args: Without the name of the command; None takes sys.argv's.
      namespace: As of argparse.

    Returns:
      The flags as attributes.

    Raises:
      UserError: A flag does not exist, or its value is wrong.
    """
    parsed, unknown = self.parse_known_args(args, namespace)
    if unknown:
      flags = [flag for flag in self._option_string_actions if flag[:2] == "--"]
      given = unknown[0].partition("=")[0]
      near = difflib.get_close_matches(given, flags, n=1)
      hint = f" Did you mean {near[0]}?" if near else ""
      raise errors.UserError(
        f"Unexpected argument {unknown[0]!r}.{hint} Allowed:"
        f" {', '.join(flags)}."
      )
    return parsed

  def error(self, message: str) -> NoReturn:
    """Takes the place of argparse's usage message and exit.

    Raises:
      UserError: Always; `run` prints it as one line.
    """
    raise errors.UserError(f"{message[:1].upper()}{message[1:]}. Try --help.")


def run(main: Callable[[Sequence[str]], None]) -> None:
  """Runs a command; what a person has to change is one line and code 2.

  Args:
    main: Takes the command line without its name.

  Raises:
    SystemExit: `EXIT_USER_ERROR`, or 130 after Ctrl-C.
  """
  os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
  os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
  # Orbax tells through absl what it was asked for; our words are not there.
  from absl import logging

  logging.set_verbosity(logging.ERROR)
  try:
    main(sys.argv[1:])
  except errors.UserError as error:
    print(f"dsh_jax: {' '.join(str(error).split())}", file=sys.stderr)
    sys.exit(EXIT_USER_ERROR)
  except KeyboardInterrupt:
    sys.exit(130)
  except BrokenPipeError:  # Such as `| head`.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
