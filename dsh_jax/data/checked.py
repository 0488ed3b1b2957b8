"""Memory-mapped rows, compared with their checksums when first read.

Checking all rows on opening would read the whole file, up to hundreds of
gigabytes, before the first step.
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
  """A memory-mapped array that never returns a damaged row.

  Attributes:
    shape: [M,...].
    dtype: Type of the array.
    filename: File of the array.
    checksums: uint32 [M], the CRC-32 of each row.
    sha256: SHA-256 of shape, type and the checksums of all rows.
  """

  def __init__(
    self, array: np.memmap, sums: np.ndarray, rebuilt_without: pathlib.Path
  ):
    """Wrap an array [M,...] without reading it.

    Args:
      array: The array.
      sums: uint32 [M], `checksums` of its rows, else ValueError.
      rebuilt_without: File to remove if a row is damaged, so that the next
        command rebuilds the array.
    """
    if sums.shape != array.shape[:1]:
      raise ValueError(f"{len(sums)} checksums of {len(array)} rows")
    self.shape, self.dtype = array.shape, array.dtype
    self.filename = array.filename
    self._array, self.checksums = array, sums
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
    values = np.asarray(self._array[rows])
    new = np.flatnonzero(~self._seen[rows])
    # No copy if all are new, as in the first epoch.
    unseen = values if len(new) == len(values) else values[new]
    wrong = checksums(unseen) != self.checksums[rows[new]]
    if wrong.any():
      with contextlib.suppress(OSError):
        self._rebuilt_without.unlink()
      raise errors.UserError(
        f"Row {rows[new[wrong]][0]} of {self.filename} is damaged. Run the"
        " command again to rebuild the file; if that fails, delete"
        f" {pathlib.Path(self.filename).parent}."
      )
    self._seen[rows] = True
    return values
