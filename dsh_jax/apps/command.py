"""Kinds of flags, help, one-line errors and exit codes of all commands."""

import functools
import os
import re
import sys
from collections.abc import Callable, Iterable, Sequence

# Verbose libraries read these on import.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
os.environ.setdefault("GRPC_VERBOSITY", "ERROR")

from absl import flags, logging
from ml_collections import config_flags

from dsh_jax import errors

Flag = Callable[..., object]  # Takes a name and flag_values.
HELP = {"-h", "-help", "--help", "--helpfull"}


def parse(
  argv: Sequence[str],
  define_flags: Callable[[flags.FlagValues], object] | None = None,
  description: str | None = "",
) -> flags.FlagValues:
  """Parse a command line; `--help` prints the flags and exits.

  Args:
    argv: The flags, without the name of the command.
    define_flags: Defines the flags of the command; None uses `flags.FLAGS`.
    description: First text of the help.
  """
  values = flags.FlagValues() if define_flags else flags.FLAGS
  if define_flags:
    define_flags(values)
  if HELP & set(argv):
    print(f"{(description or '').strip()}\n\nFlags:")
    for name in _own(values):
      line = f"--{name}: {_help(values[name])}"
      print(flags.text_wrap(line, 80, "    ", "  "))
    sys.exit(0)
  try:
    rest = values(["", *argv])
  except flags.UnrecognizedFlagError as error:
    raise errors.unknown(
      "flag",
      f"--{error.flagname}",
      [f"--{name}" for name in _own(values)],
      "the command line",
    ) from None
  except Exception as error:  # A config file or field can raise anything.
    raise errors.UserError(reason(error)) from None
  if len(rest) > 1:
    raise errors.UserError(
      f"Unexpected argument {rest[1]!r}. All arguments are --FLAG=VALUE."
    )
  return values


def text(help: str, default: str | None = "", **more) -> Flag:
  """Return the flag of a string."""
  return functools.partial(
    flags.DEFINE_string, default=default, help=help, **more
  )


def needed(help: str) -> Flag:
  """Return the flag of a string that must be given."""
  return text(help, None, required=True)


def texts(help: str, default: Sequence[str] | None = (), **more) -> Flag:
  """Return the flag of a string that may be given several times."""
  return functools.partial(
    flags.DEFINE_multi_string, default=default, help=help, **more
  )


def number(help: str, default: int | None = None, **more) -> Flag:
  """Return the flag of a whole number."""
  return functools.partial(
    flags.DEFINE_integer, default=default, help=help, **more
  )


def switch(help: str, default: bool | None = False) -> Flag:
  """Return the flag of a boolean, --NAME or --noNAME."""
  return functools.partial(flags.DEFINE_bool, default=default, help=help)


def config(help: str, locked: bool) -> Flag:
  """Return the flag of a config file."""
  return functools.partial(
    config_flags.DEFINE_config_file,
    default=None,
    help_string=help,
    lock_config=locked,
  )


def words(help: str) -> Flag:
  """Return the flag of strings separated by commas."""
  return functools.partial(flags.DEFINE_list, default=[], help=help)


def check_choice(flag: str, given: str | None, allowed: Iterable[str]) -> None:
  """Raise a UserError for a value that is not allowed; None always is.

  flags.DEFINE_enum does the same, but its choices have to be imported before
  the help can be shown.
  """
  if given is not None and given not in allowed:
    raise errors.unknown(f"value of {flag}", given, allowed, flag)


def _own(values: flags.FlagValues) -> list[str]:
  """Return the names of flags that neither absl nor a config defines."""
  hidden = set(flags.FlagValues()) | {"flagfile", "undefok"}
  return [n for n in sorted(values) if n not in hidden and "." not in n]


def _help(flag: flags.Flag) -> str:
  """Return the help of a flag, with its default unless the text has it."""
  words = flag.help.partition(";\n    repeat this option")[0]  # absl's.
  if not flag.default or "default" in words.lower():
    return words
  default = flag.default
  if isinstance(default, list):
    default = ", ".join(default)
  return f"{words} Default: {default}."


def reason(error: BaseException) -> str:
  """Return the reason why a command line is wrong, without a traceback.

  The reader of config files puts the traceback of an error into its message.
  """
  cause, found = error, None
  while cause is not None:
    if isinstance(cause, errors.UserError):
      found = cause  # The first error raised; others quote it.
    cause = cause.__cause__ or cause.__context__
  if found is not None:
    return str(found)
  if isinstance(error, AttributeError):  # Quoted twice by ml_collections.
    text = str(error).strip("'").replace("\\'", "'").replace("\\n", " ")
    text = re.sub(
      r"('\w+') Did you mean \"(\w+)\" instead of \S+",
      r"\1. Did you mean '\2'?",
      text,
    )
    return f"A --config.FIELD of the command line does not exist: {text}"
  lines = [line for line in str(error).splitlines() if line.strip()]
  if any(line.startswith("Traceback") for line in lines):
    lines = [lines[0], lines[-1]]
  return f"Cannot use the command line: {' '.join(lines)}"


def run(main: Callable[[Sequence[str]], int | None]) -> None:
  """Run a command; an expected failure prints one line.

  Args:
    main: Takes the command line without its name; may return an exit code.

  Raises:
    SystemExit: The `exit_code` of the error. Ctrl-C ends the process with 130.
  """
  logging.set_verbosity(logging.ERROR)  # Orbax logs every call.
  try:
    sys.exit(main(sys.argv[1:]))
  except errors.Error as error:
    fail(error)
  except KeyboardInterrupt:
    sys.stdout.flush()
    os._exit(130)  # Another Ctrl-C would find threads at work.
  except BrokenPipeError:  # For example in `| head`.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def fail(error: errors.Error) -> None:
  """Print an error as one line and exit with its code."""
  text = errors.printable(" ".join(str(error).split()))
  print(f"dsh_jax: {text}", file=sys.stderr, flush=True)
  if isinstance(error, errors.StorageError):
    # Orbax threads that failed on a full disk print errors at a normal exit.
    os._exit(error.exit_code)
  sys.exit(error.exit_code)
