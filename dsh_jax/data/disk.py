"""Space on the disk, asked for before it is needed."""

import pathlib
import shutil

from dsh_jax import errors

_SPARE = 2**20  # Bytes for labels, names and folders.


def check_space(folder: pathlib.Path, num_bytes: int, what: str) -> None:
  """Checks that a folder that exists has room.

  Args:
    folder: Where something will be written.
    num_bytes: Its size, without labels and names.
    what: What it is, for the error.

  Raises:
    UserError: There is not enough room.
  """
  free = shutil.disk_usage(folder).free
  if free < num_bytes + _SPARE:
    raise errors.UserError(
      f"{folder} needs {num_bytes / 2**30:.2f} GiB for {what};"
      f" {free / 2**30:.2f} GiB are free. Free space, or change"
      " config.data.dir or config.data.image_size."
    )
