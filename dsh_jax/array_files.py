"""Reads files of arrays that may be damaged."""

import pathlib

import numpy as np

from dsh_jax import errors


def read(path: pathlib.Path) -> np.ndarray | dict[str, np.ndarray]:
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
