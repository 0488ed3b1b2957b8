"""How the scripts of this folder start, and how they tell of wrong input."""

import sys
from collections.abc import Callable
from typing import Any

from absl import app, flags, logging

from dsh_jax import errors


def run(main: Callable[[], int | None]) -> None:
  """Parses flags and calls `main`; what a person got wrong is one line.

  Args:
    main: Reads flags itself; returns the exit code, None for 0.
  """

  def checked(argv):
    logging.set_verbosity(logging.WARNING)
    if len(argv) > 1:
      _fail(f"Unexpected argument {argv[1]!r}; all are --flags.")
    try:
      return main()
    except errors.UserError as error:
      _fail(error)

  app.run(checked, flags_parser=_parse)


def config_of(flag: flags.FlagHolder, example: str) -> Any:
  """Returns the config of a config flag.

  Args:
    flag: From `config_flags.DEFINE_config_file`, without a default.
    example: A file that could have been given.

  Returns:
    The config.

  Raises:
    UserError: None was given, or there is no such file.
  """
  config = flag.value
  if config is None:
    raise errors.UserError(
      f"No config was given. Give one, such as --config={example}."
    )
  try:
    config.title  # noqa: B018  A file that is not there is told of on use.
  except OSError as error:
    raise errors.UserError(f"Cannot read --config: {error}") from None
  return config


def _parse(argv):
  try:
    return flags.FLAGS(argv)
  except Exception as error:  # Whatever a config file or field may raise.
    _fail(f"Cannot use the command line: {error}")


def _fail(message):
  print(" ".join(str(message).split()), file=sys.stderr)
  raise SystemExit(2)
