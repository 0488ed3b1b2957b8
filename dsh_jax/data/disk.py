"""Free disk space, and what tells whether files have changed."""

import os
import pathlib
import shutil

from dsh_jax import errors

_SPARE = 2**20  # Bytes for labels, names and folders.


def check_space(folder: pathlib.Path, num_bytes: int, what: str) -> None:
  """Raise a UserError if an existing folder lacks space for `num_bytes`."""
  free = shutil.disk_usage(folder).free
  if free < num_bytes + _SPARE:
    raise errors.UserError(
      f"{folder} needs {num_bytes / 2**30:.2f} GiB for {what};"
      f" {free / 2**30:.2f} GiB are free. Free space, or change"
      " config.data.dir or config.data.image_size."
    )


def stamp(path: str | os.PathLike) -> str:
  """Return size (bytes) and time (ns) of a file, or "absent"."""
  try:
    status = os.stat(path)
  except OSError:
    return "absent"
  return f"{status.st_size} {status.st_mtime_ns}"
