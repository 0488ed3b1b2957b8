"""Errors with one line: what was given, what is allowed, what to change."""

import difflib
import os
import re
from collections.abc import Iterable


class Error(Exception):
  """An expected failure, which a command prints as one line.

  Attributes:
    exit_code: Exit code of the command.
  """

  exit_code = 1


class UserError(Error, ValueError):
  """Input that the user must change."""

  exit_code = 2


class LostHostError(Error):
  """Another host was killed, lost, or never started.

  A host that fails with an error passes its own exit code to the others.
  """

  exit_code = 5


def close_names(given: str, allowed: Iterable[str]) -> list[str]:
  """Return at most three names that are spelled much as `given`, best first."""
  given = given[:100]  # The time grows with the square.

  def key(name):
    ratio = difflib.SequenceMatcher(None, name, given).ratio()
    # Swapped letters are the most common typing error.
    swapped = sorted(name) == sorted(given)
    return not swapped, -ratio, -len(os.path.commonprefix([name, given]))

  return sorted(difflib.get_close_matches(given, allowed, n=9), key=key)[:3]


def unknown(
  kind: str, given: object, allowed: Iterable[str], field: str
) -> UserError:
  """Return the error for an unknown name, with the nearest known one.

  Args:
    kind: Such as "method".
    given: The unknown name.
    allowed: The known names.
    field: The config field or flag to change.
  """
  allowed = sorted(allowed)
  if isinstance(given, str) and len(given) > 100:
    given = f"{given[:60]}..."
  near = close_names(str(given), allowed)
  hint = f" Did you mean {near[0]!r}?" if near else ""
  return UserError(
    f"Unknown {kind} {given!r}.{hint} Allowed: {', '.join(allowed) or 'none'}."
    f" Change {field}."
  )


def too_small(network: str, smallest: int, shape: tuple[int, ...]) -> UserError:
  """Return the error for images [B,H,W,3] below the smallest side."""
  return UserError(
    f"{network} needs images of {smallest} x {smallest} pixels or more, got"
    f" {shape[1]} x {shape[2]}. Change config.data.image_size, or"
    " config.data.crop_size, which is applied after it."
  )


def no_validation(reason: str) -> UserError:
  """Return the error for selection by validation queries without any.

  Args:
    reason: Start of the message, without a full stop.
  """
  return UserError(
    f"{reason}, but config.eval.select='validation' needs validation queries."
    " Change config.data.num_validation, or keep the last epoch with"
    " config.eval.select='last'."
  )


class NonFiniteError(Error):
  """A loss, a gradient or running statistics are not finite."""

  exit_code = 3


class StorageError(Error):
  """A file cannot be written, such as on a full disk, or storage fails."""

  exit_code = 4


def system_number(error: BaseException) -> int | None:
  """Return the errno of an error, such as errno.EIO, or None.

  C++ libraries put it into the message.
  """
  if isinstance(error, OSError):
    return error.errno
  number = re.search(r"os_error_code='(\d+)'", str(error))
  return int(number[1]) if number else None


def printable(text: str) -> str:
  """Escape text for a terminal, such as a file name.

  Control characters, line ends and bytes that are not UTF-8 become Python
  escapes, such as `\\x1b`.
  """
  return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def check_utf8(path: str | os.PathLike, field: str) -> None:
  """Raise UserError for a path that is not UTF-8; `field` gave it."""
  path = os.fspath(path)
  try:
    path.encode()
  except UnicodeEncodeError:
    raise UserError(
      f"{field}={printable(path)} is not UTF-8. Rename it, or change {field}."
    ) from None


def describe(error: BaseException) -> str:
  """Return the cause of any error in one line."""
  if isinstance(error, OSError) and error.strerror:
    return error.strerror
  if (number := system_number(error)) is not None:
    return os.strerror(number)
  if re.search("allow_pickle|Python objects in dtype", str(error)):
    return (
      "it holds Python objects; save arrays of numbers or text, and several"
      " names of an item as one text 'a;b'"
    )
  lines = [line.strip() for line in str(error).splitlines() if line.strip()]
  return lines[0] if lines else type(error).__name__
