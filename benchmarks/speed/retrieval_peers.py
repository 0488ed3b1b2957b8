"""Baselines for retrieval: the usual NumPy code, FAISS, distances alone."""

from collections.abc import Callable

import numpy as np

from dsh_jax import parallel
from dsh_jax.retrieval import codes, neighbors_numba


def plain_map(
  query_signs: np.ndarray,
  database_signs: np.ndarray,
  query_labels: np.ndarray,
  database_labels: np.ndarray,
  k: int,
) -> float:
  """Mean AP@k as released hashing code usually computes it, query by query.

  A stand-in written for this benchmark: relevance and distances by matrix
  products, a full argsort, AP over the relevant items of the first k. Ties
  stay as argsort leaves them.

  Args:
    query_signs: float32 [Q, K] of -1 and +1.
    database_signs: float32 [N, K].
    query_labels: float32 [Q, L] of 0 and 1.
    database_labels: float32 [N, L].
    k: Cut-off.
  """
  total = 0.0
  for signs, labels in zip(query_signs, query_labels, strict=True):
    relevant = (database_labels @ labels > 0).astype(np.float32)
    distances = 0.5 * (len(signs) - database_signs @ signs)
    found = relevant[np.argsort(distances)][:k]
    count = int(found.sum())
    if count:
      ranks = np.flatnonzero(found) + 1.0
      total += np.mean(np.arange(1, count + 1) / ranks)
  return total / len(query_signs)


def signs(packed: np.ndarray, num_bits: int) -> np.ndarray:
  """Unpack codes to float32 [N, K] of -1 and +1."""
  bits = codes.unpack(packed, num_bits)
  return np.where(bits, np.float32(1), np.float32(-1))


def faiss_search(
  queries: np.ndarray, database: np.ndarray, k: int, use_heap: bool
) -> Callable[[], object] | None:
  """Prepare a FAISS search of packed codes; None if FAISS is absent."""
  try:
    import faiss
  except ImportError:
    return None
  faiss.omp_set_num_threads(parallel.num_cores())
  queries, database = (
    np.ascontiguousarray(x).view(np.uint8) for x in (queries, database)
  )
  index = faiss.IndexBinaryFlat(8 * database.shape[1])
  index.use_heap = use_heap
  index.add(database)
  return lambda: index.search(queries, k)


def distances_alone(queries: np.ndarray, database: np.ndarray) -> None:
  """Compute every distance on packed words; store none."""
  neighbors_numba.count_within(queries, database, 0)


def distances_by_product(
  query_signs: np.ndarray, database_signs: np.ndarray, rows: int = 8192
) -> None:
  """Compute every inner product in float32, in chunks of the database."""
  out = np.empty((len(query_signs), rows), np.float32)
  for start in range(0, len(database_signs), rows):
    chunk = database_signs[start : start + rows]
    np.matmul(query_signs, chunk.T, out=out[:, : len(chunk)])
