"""Hash codes in the file format of FAISS, an IndexBinaryFlat.

FAISS is an extra: pip install "dsh_jax[faiss]".
"""

import os
import pathlib

import numpy as np

from dsh_jax import errors, files
from dsh_jax.retrieval import codes


def write_index(
  path: str | os.PathLike, packed: np.ndarray, num_bits: int
) -> None:
  """Write codes as an index that FAISS searches; row i becomes id i.

  FAISS counts bits in whole bytes; the bits between K and the next multiple of
  8 are zero and change no distance.

  Args:
    path: File to write, whole or not at all.
    packed: uint32 [N, ceil(K/32)].
    num_bits: K, 1 to 256.
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
    raise errors.UserError(f"Cannot write the index {path}: {error}") from error


def read_index(
  path: str | os.PathLike, num_bits: int | None = None
) -> tuple[np.ndarray, int]:
  """Read the codes of an IndexBinaryFlat.

  Args:
    path: File to read.
    num_bits: K; None takes the index's own number, a multiple of 8.

  Returns:
    packed: uint32 [N, ceil(K/32)].
    num_bits: K.
  """
  faiss = _import_faiss()
  try:
    index = faiss.read_index_binary(os.fspath(path))
  except RuntimeError as error:
    raise errors.UserError(f"Cannot read the index {path}: {error}") from error
  if not isinstance(index, faiss.IndexBinaryFlat):
    raise errors.UserError(
      f"{path} holds a {type(index).__name__}; only IndexBinaryFlat stores"
      " unchanged codes."
    )
  num_bits = index.d if num_bits is None else num_bits
  num_bytes = -(-num_bits // 8)
  if num_bytes != index.code_size or num_bits < 1:
    raise errors.UserError(
      f"{path} has {index.d} bits an item, not {num_bits}. Change num_bits."
    )
  as_bytes = np.zeros((index.ntotal, 4 * codes.num_words(num_bits)), np.uint8)
  as_bytes[:, :num_bytes] = faiss.vector_to_array(index.xb).reshape(
    index.ntotal, num_bytes
  )
  packed = as_bytes.view("<u4").astype(np.uint32, copy=False)
  return codes.check(packed, num_bits, "codes"), num_bits


def _import_faiss():
  try:
    import faiss
  except ImportError as error:
    raise errors.UserError(
      'FAISS is not installed; pip install "dsh_jax[faiss]", or in a clone'
      ' pip install -e ".[faiss]".'
    ) from error
  return faiss
