"""Orders items at one Hamming distance by their real-valued outputs.

A code is the sign of a network's outputs. Items are ranked by distance, and
items at one distance by the inner product of their outputs with the query's,
the largest first. The cosine would ignore the magnitude of the outputs.
"""

import numpy as np

from dsh_jax import errors
from dsh_jax.retrieval import codes, neighbors, real_valued


def check(
  outputs: np.ndarray, num_items: int, num_bits: int, source: str
) -> np.ndarray:
  """Check that the outputs of a file are finite float [N,K]; return them.

  Raises:
    UserError: They are not.
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
  """Return outputs as float16, clipped to its range."""
  most = np.finfo(np.float16).max
  return np.clip(outputs, -most, most).astype(np.float16)


def join(
  query: np.ndarray,
  query_outputs: np.ndarray,
  database: np.ndarray,
  database_outputs: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
  """Return vectors whose cosine ranks by distance, then by outputs.

  A vector concatenates scaled outputs, one number that pads those of the
  database to norm 1 (0 for queries), and twice the signs. The inner product of
  two vectors is p + 4 (K - 2 d), with d the distance and p in [-1,1]
  proportional to the inner product of the outputs.

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
