"""The joint histogram on a CPU: one fused pass over packed words."""

import numpy as np

from dsh_jax.retrieval import threads

# Database rows that are transposed at a time.
CHUNK_ROWS = 1 << 17


def add(
  queries: np.ndarray,
  query_sets: np.ndarray,
  database: np.ndarray,
  database_sets: np.ndarray,
  counts: np.ndarray,
  chunk_rows: int | None = None,
) -> None:
  """Adds every pair of a query and a database item to `counts`.

  Args:
    queries: uint32 [Q, words].
    query_sets: uint32 [Q, words].
    database: uint32 [N, words].
    database_sets: uint32 [N, words].
    counts: int64 [Q, K+1, S+1], added to.
    chunk_rows: Database rows at a time; does not change the result.
  """
  from dsh_jax.retrieval import kernels

  queries = np.ascontiguousarray(queries)
  query_sets = np.ascontiguousarray(query_sets)
  chunk_rows = chunk_rows or CHUNK_ROWS
  for start in range(0, len(database), chunk_rows):
    rows = slice(start, start + chunk_rows)
    chunk = np.ascontiguousarray(database[rows].T)
    chunk_sets = np.ascontiguousarray(database_sets[rows].T)

    def work(first, last, chunk=chunk, chunk_sets=chunk_sets):
      kernels.add_to_histogram(
        queries[first:last],
        query_sets[first:last],
        chunk,
        chunk_sets,
        counts[first:last],
      )

    threads.map_blocks(work, len(queries), kernels.QUERY_BLOCK)
