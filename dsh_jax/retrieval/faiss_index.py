"""Hash codes in the file format of FAISS's IndexBinaryFlat.

Writing needs FAISS, an extra: pip install "dsh_jax[faiss]".
"""

import os
import pathlib
import struct

import numpy as np

from dsh_jax import MAX_BITS, errors, files
from dsh_jax.retrieval import codes

_FLAT = b"IBxF"
# d, code_size, ntotal, is_trained, metric_type, then the size of the codes.
_HEAD = struct.Struct("<iiqbiq")


def write_index(
  path: str | os.PathLike, packed: np.ndarray, num_bits: int
) -> None:
  """Write codes as an index that FAISS searches; row i becomes id i.

  `packed` is uint32 [N, ceil(K/32)]. FAISS needs whole bytes; zero bits between
  K and the next multiple of 8 change no distance. Writing is atomic.
  """
  faiss = _import_faiss()
  packed = codes.check(packed, num_bits, "codes")
  num_bytes = -(-num_bits // 8)
  as_bytes = np.ascontiguousarray(packed.astype("<u4", copy=False))
  as_bytes = as_bytes.view(np.uint8).reshape(len(packed), -1)[:, :num_bytes]
  index = faiss.IndexBinaryFlat(8 * num_bytes)
  index.add(np.ascontiguousarray(as_bytes))
  try:
    with files.replacing(pathlib.Path(path)) as partial:
      faiss.write_index_binary(index, str(partial))
  except (OSError, RuntimeError) as error:
    raise errors.UserError(
      f"Cannot write the index {path}: {errors.describe(error)}."
    ) from error


def read_index(
  path: str | os.PathLike, num_bits: int | None = None
) -> tuple[np.ndarray, int]:
  """Return the codes of an IndexBinaryFlat, uint32 [N, ceil(K/32)], and K.

  If `num_bits` is None, K is the number of the index, a multiple of 8.
  """
  try:
    kind, width, rows = _read_flat(pathlib.Path(path))
  except (OSError, ValueError) as error:
    raise errors.UserError(
      f"Cannot read the index {path}: {errors.describe(error)}. Write it again."
    ) from error
  if kind != _FLAT:
    raise errors.UserError(
      f"{path} holds a FAISS index of kind {kind.decode('latin-1')!r}; only"
      f" {_FLAT.decode()!r}, an IndexBinaryFlat, stores unchanged codes."
    )
  num_bits = width if num_bits is None else num_bits
  num_bytes = -(-num_bits // 8)
  if 8 * num_bytes != width or num_bits < 1:
    raise errors.UserError(
      f"{path} has {width} bits an item, not {num_bits}. Change num_bits."
    )
  as_bytes = np.zeros((len(rows), 4 * codes.num_words(num_bits)), np.uint8)
  as_bytes[:, :num_bytes] = rows
  packed = as_bytes.view("<u4").astype(np.uint32, copy=False)
  return codes.check(packed, num_bits, "codes"), num_bits


def _read_flat(path):
  """Return kind, bits an item and uint8 [N, bytes]; kind only if not `_FLAT`.

  FAISS itself reads beyond its buffers or asks for all memory on damaged files.
  """
  with files.open_regular(path) as file:
    kind = file.read(4)
    if kind != _FLAT:
      return kind, 0, None
    head = file.read(_HEAD.size)
    if len(head) < _HEAD.size:
      raise ValueError("its header is truncated")
    width, num_bytes, count, _, _, size = _HEAD.unpack(head)
    available = os.fstat(file.fileno()).st_size - file.tell()
    if width != 8 * num_bytes or not 1 <= width <= MAX_BITS:
      raise ValueError(f"it has {width} bits in {num_bytes} bytes an item")
    if not 0 <= count * num_bytes == size == available:
      raise ValueError(f"it has {available:,} bytes for {count:,} codes")
    content = file.read()
  return kind, width, np.frombuffer(content, np.uint8).reshape(-1, num_bytes)


def _import_faiss():
  try:
    import faiss
  except ImportError as error:
    raise errors.UserError(
      'FAISS is not installed; pip install "dsh_jax[faiss]", or in a clone'
      ' pip install -e ".[faiss]".'
    ) from error
  return faiss
