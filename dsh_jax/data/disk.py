"""A check for free disk space before writing."""

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
