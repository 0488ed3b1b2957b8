"""Errors that a person can act on: given, allowed, which field to change."""

import difflib
import os
import re
from collections.abc import Iterable


class Error(Exception):
  """An expected failure; a command prints it as one line.

  Attributes:
    exit_code: Of the command.
  """

  exit_code = 1


class UserError(Error, ValueError):
  """Input that a person has to change."""

  exit_code = 2


def unknown(
  kind: str, given: object, allowed: Iterable[str], field: str
) -> UserError:
  """Makes the error for a name that is not one of a known set.

  Args:
    kind: What the name stands for, such as "method".
    given: The name that was given.
    allowed: The names that exist.
    field: The config field or flag to change, as the message names it.

  Returns:
    The error, for the caller to raise; it suggests the nearest name.
  """
  allowed = sorted(allowed)
  near = difflib.get_close_matches(str(given), allowed, n=3)
  # Swapped letters are the likeliest slip.
  near.sort(key=lambda name: sorted(name) != sorted(str(given)))
  hint = f" Did you mean {near[0]!r}?" if near else ""
  return UserError(
    f"Unknown {kind} {given!r}.{hint} Allowed: {', '.join(allowed)}."
    f" Change {field}."
  )


def too_small(network: str, smallest: int, shape: tuple[int, ...]) -> UserError:
  """Makes the error for images that a network cannot take.

  Args:
    network: Which one, as the message begins.
    smallest: Height and width that it takes, pixels.
    shape: [B,H,W,3] of the images.

  Returns:
    The error, for the caller to raise.
  """
  return UserError(
    f"{network} needs images of {smallest} x {smallest} pixels or more, got"
    f" {shape[1]} x {shape[2]}. Change config.data.image_size, or"
    " config.data.crop_size, which comes after it."
  )


def no_validation(reason: str) -> UserError:
  """Makes the error for a choice of the epoch without validation queries.

  Args:
    reason: Why there are none; begins the message, without a full stop.

  Returns:
    The error, for the caller to raise.
  """
  return UserError(
    f"{reason}, but config.eval.select='validation' chooses the epoch by"
    " validation queries. Change config.data.num_validation, or take the last"
    " epoch by config.eval.select='last'."
  )


class NonFiniteError(Error):
  """The loss, a gradient or a running statistic of BatchNorm is not finite."""

  exit_code = 3


class StorageError(Error):
  """A file could not be written: disk full, read-only, folder gone."""

  exit_code = 4


def describe(error: BaseException) -> str:
  """Returns the reason of any error in one line, for a message of ours."""
  if isinstance(error, OSError) and error.strerror:
    return error.strerror
  # Where C++ libraries hide the number that the system gave.
  if number := re.search(r"os_error_code='(\d+)'", str(error)):
    return os.strerror(int(number[1]))
  lines = [line.strip() for line in str(error).splitlines() if line.strip()]
  return lines[0] if lines else type(error).__name__
