"""Write files whole or not at all, and read arrays from damaged ones."""

import contextlib
import os
import pathlib
from collections.abc import Iterator

import numpy as np

from dsh_jax import errors


@contextlib.contextmanager
def replacing(path: pathlib.Path) -> Iterator[pathlib.Path]:
  """Lets a file be written under another name, then renames it.

  Readers see the old file or the new one, and two processes that write the
  same file do not mix. After an error the old file is as it was, and what was
  written is removed.

  Args:
    path: The file, also as an epath.Path of an address such as gs://BUCKET.

  Yields:
    The name to write to, in the same folder.
  """
  temporary = path.with_name(f"{path.name}.{os.getpid()}.partial")
  try:
    yield temporary
    temporary.replace(path)
  except BaseException:
    with contextlib.suppress(OSError):
      temporary.unlink(missing_ok=True)
    raise


def read_arrays(path: pathlib.Path) -> np.ndarray | dict[str, np.ndarray]:
  """Reads a whole file.

  Args:
    path: A .npy or .npz file.

  Returns:
    The array of a .npy, the arrays of a .npz by name.

  Raises:
    OSError: It cannot be read.
    ValueError: It is damaged, or holds anything but plain arrays.
  """
  with path.open("rb") as file:  # NumPy leaves a damaged one open.
    try:
      loaded = np.load(file, allow_pickle=False)
      if isinstance(loaded, np.ndarray):
        return loaded
      return {name: loaded[name] for name in loaded.files}
    except OSError:
      raise
    # NumPy, zipfile, zlib and Python's tokenizer raise their own.
    except Exception as error:
      raise ValueError(errors.describe(error)) from error
