"""Write files atomically; open and read files that may be anything."""

import contextlib
import os
import pathlib
import stat
from collections.abc import Iterator
from typing import BinaryIO

import numpy as np

from dsh_jax import errors


@contextlib.contextmanager
def replacing(path: pathlib.Path) -> Iterator[pathlib.Path]:
  """Yield a temporary path in the same folder, renamed to `path` at the end.

  Readers see the old file or the new one, and processes that write the same
  file do not mix. After an error the old file is unchanged and the temporary
  one is removed.

  Args:
    path: The file; an epath.Path may be an address such as gs://BUCKET.
  """
  temporary = path.with_name(f"{path.name}.{os.getpid()}.partial")
  try:
    yield temporary
    temporary.replace(path)
  except BaseException:
    with contextlib.suppress(OSError):
      temporary.unlink(missing_ok=True)
    raise


def open_regular(path: pathlib.Path) -> BinaryIO:
  """Open a regular file for reading, without waiting for a pipe's writer.

  Args:
    path: The file, or a link to it; or an epath.Path, opened as it is.

  Raises:
    OSError: It cannot be opened, or it is a folder, a pipe or a device.
  """
  if not isinstance(path, pathlib.Path):
    return path.open("rb")
  descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
  try:
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
      raise OSError(None, "Not a regular file", os.fspath(path))
    return os.fdopen(descriptor, "rb")
  except BaseException:
    os.close(descriptor)
    raise


def read_arrays(path: pathlib.Path) -> np.ndarray | dict[str, np.ndarray]:
  """Read a .npy file as an array, or a .npz file as a dict of arrays.

  Raises:
    OSError: It cannot be read.
    ValueError: It is damaged, or holds anything but plain arrays.
  """
  with open_regular(path) as file:  # NumPy does not close a damaged file.
    try:
      loaded = np.load(file, allow_pickle=False)
      if isinstance(loaded, np.ndarray):
        return loaded
      return {name: loaded[name] for name in loaded.files}
    except OSError:
      raise
    # NumPy, zipfile, zlib and Python's tokenizer raise their own errors.
    except Exception as error:
      raise ValueError(errors.describe(error)) from error
