"""Orders items at one Hamming distance by the outputs behind their codes.

Outputs are the real numbers that codes are the signs of. Items are ranked by
distance, and those at one distance by the inner product of outputs with the
query's, the largest first: it scored higher than the cosine, which leaves out
how sure the network is of an item.
"""

import numpy as np

from dsh_jax import errors
from dsh_jax.retrieval import codes, neighbors, real_valued


def check(
  outputs: np.ndarray, num_items: int, num_bits: int, source: str
) -> np.ndarray:
  """Return the outputs of a file, float [N,K], if they are that.

  Raises:
    UserError: They are of another type or shape, or not finite.
  """
  if outputs.dtype.kind != "f" or outputs.shape != (num_items, num_bits):
    raise errors.UserError(
      f"The outputs of {source} are {outputs.dtype} of shape {outputs.shape};"
      f" they must be float of shape {num_items, num_bits}."
    )
  if not np.isfinite(outputs).all():
    raise errors.UserError(f"The outputs of {source} are not all finite.")
  return outputs


def round_outputs(outputs: np.ndarray) -> np.ndarray:
  """Return outputs as float16, the largest as its largest number."""
  most = np.finfo(np.float16).max
  return np.clip(outputs, -most, most).astype(np.float16)


def join(
  query: np.ndarray,
  query_outputs: np.ndarray,
  database: np.ndarray,
  database_outputs: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
  """Return vectors whose cosine ranks by distance, then by outputs.

  They are signs times two beside outputs of length 1, or at most 1 and filled
  up to it: the inner product of two is p + 4 (K - 2 d), p in [-1,1] being in
  proportion to that of the outputs and d the distance.

  Args:
    query: uint32 [Q,words].
    query_outputs: Float [Q,K].
    database: uint32 [N,words].
    database_outputs: Float [N,K].

  Returns:
    float64 [Q,2K+1] and [N,2K+1].
  """
  num_bits = query_outputs.shape[1]
  query_signs, signs = (
    np.where(codes.unpack(packed, num_bits), 2.0, -2.0)
    for packed in (query, database)
  )
  wanted = real_valued.unit(query_outputs.astype(np.float64))
  found = database_outputs.astype(np.float64)
  lengths = np.linalg.norm(found, axis=1, keepdims=True)
  longest = lengths.max() or 1.0
  rest = np.sqrt(np.maximum(0, 1 - (lengths / longest) ** 2))
  return (
    np.concatenate([wanted, 0 * wanted[:, :1], query_signs], axis=1),
    np.concatenate([found / longest, rest, signs], axis=1),
  )


def top_k(
  query: np.ndarray,
  query_outputs: np.ndarray,
  database: np.ndarray,
  database_outputs: np.ndarray,
  k: int,
) -> tuple[np.ndarray, np.ndarray]:
  """Find the k items nearest to a query; equal outputs by lowest row.

  Args:
    query: uint32 [words].
    query_outputs: Float [K].
    database: uint32 [N,words].
    database_outputs: Float [N,K].
    k: 1 to N.

  Returns:
    Distances int32 [k], rising, and rows int64 [k].
  """
  query = query[np.newaxis]
  last = int(neighbors.top_k(query, database, k)[0][0, -1])
  _, distances, rows = neighbors.within_radius(query, database, last)
  closeness = database_outputs[rows].astype(np.float64) @ query_outputs
  order = np.lexsort((-closeness, distances))[:k]
  return distances[order], rows[order]
