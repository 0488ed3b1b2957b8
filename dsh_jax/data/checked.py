"""Rows of a file on disk, compared with their checksums when first read.

A check of all rows on opening would read the whole file, hundreds of gigabytes
for some, before the first step. This one costs a CRC-32 of the rows of a batch,
in the threads that read it, and only until each row has been read once.
"""

import contextlib
import hashlib
import pathlib
import zlib

import numpy as np

from dsh_jax import errors


def checksums(rows: np.ndarray) -> np.ndarray:
  """Return the CRC-32 of each row, uint32 [n] of any [n,...]."""
  rows = np.ascontiguousarray(rows)
  return np.fromiter(map(zlib.crc32, rows), np.uint32, len(rows))


class CheckedArray:
  """A memory-mapped array that gives no row whose bytes have changed.

  Attributes:
    shape: Of the array, [M,...].
    dtype: Of the array.
    filename: Its file.
    sha256: Of shape, type and the checksums of all rows.
  """

  def __init__(
    self, array: np.memmap, sums: np.ndarray, rebuilt_without: pathlib.Path
  ):
    """Keep what is compared; nothing is read yet.

    Args:
      array: [M,...].
      sums: uint32 [M], `checksums` of its rows.
      rebuilt_without: A file that is removed if a row is damaged, so that the
        next command builds the array again.

    Raises:
      ValueError: There is not one checksum for each row.
    """
    if sums.shape != array.shape[:1]:
      raise ValueError(f"{len(sums)} checksums of {len(array)} rows")
    self.shape, self.dtype = array.shape, array.dtype
    self.filename = array.filename
    self._array, self._sums = array, sums
    self._rebuilt_without = rebuilt_without
    self._seen = np.zeros(len(array), bool)
    head = f"{self.shape} {self.dtype.str}\n".encode()
    sha = hashlib.sha256(head + sums.astype("<u4").tobytes())
    self.sha256: str = sha.hexdigest()

  def __len__(self) -> int:
    return len(self._array)

  def __getitem__(self, rows: np.ndarray) -> np.ndarray:
    """Return the rows at indices int [n], read into memory.

    Raises:
      UserError: A row is damaged.
    """
    rows = np.asarray(rows)
    found = np.asarray(self._array[rows])
    new = np.flatnonzero(~self._seen[rows])
    # Without a copy where all are new, as in the first epoch.
    unseen = found if len(new) == len(found) else found[new]
    wrong = checksums(unseen) != self._sums[rows[new]]
    if wrong.any():
      with contextlib.suppress(OSError):
        self._rebuilt_without.unlink()
      raise errors.UserError(
        f"Row {rows[new[wrong]][0]} of {self.filename} is damaged. Give the"
        " same command again, which builds that file anew; if it does not,"
        f" delete {pathlib.Path(self.filename).parent}."
      )
    self._seen[rows] = True
    return found
