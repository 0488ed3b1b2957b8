"""The joint histogram on a CPU: one fused pass over packed words."""

import numpy as np

from dsh_jax.retrieval import compiled, threads

# Database rows transposed at a time.
CHUNK_ROWS = 1 << 17
# Queries that share a pass over one tile of the database.
QUERY_BLOCK = 16


@compiled.compile_loop
def _add_chunk(queries, query_sets, database, database_sets, counts):
  """Count pairs by distance and overlap.

  Args:
    queries: uint32 [Q, words], the codes.
    query_sets: uint32 [Q, words], the label sets.
    database: uint32 [words, N], N < 2^31; transposed to vectorise the loops.
    database_sets: uint32 [words, N].
    counts: int64 [Q, K+1, S+1], added to.
  """
  num_queries, num_distances, num_overlaps = counts.shape
  num_items = database.shape[1]
  width = np.uint32(num_overlaps)
  one = np.uint32(1)
  bins = np.empty(compiled.TILE, np.uint32)
  # Four counters a bin: an increment waits several cycles for an earlier one of
  # the same address.
  lanes = np.zeros((num_queries, 4, num_distances * num_overlaps), np.uint32)
  for start in range(0, num_items, compiled.TILE):
    size = min(compiled.TILE, num_items - start)
    for query in range(num_queries):
      compiled.tile_distances(queries[query], database, start, size, bins)
      for word in range(query_sets.shape[1]):
        mine = query_sets[query, word]
        theirs = database_sets[word, start : start + size]
        if word == 0:
          for i in range(size):
            bins[i] = bins[i] * width + compiled.popcount(mine & theirs[i])
        else:
          for i in range(size):
            bins[i] += compiled.popcount(mine & theirs[i])
      lane0 = lanes[query, 0]
      lane1 = lanes[query, 1]
      lane2 = lanes[query, 2]
      lane3 = lanes[query, 3]
      whole = size // 4 * 4
      for i in range(0, whole, 4):
        lane0[bins[i]] += one
        lane1[bins[i + 1]] += one
        lane2[bins[i + 2]] += one
        lane3[bins[i + 3]] += one
      for i in range(whole, size):
        lane0[bins[i]] += one
  for query in range(num_queries):
    for distance in range(num_distances):
      for overlap in range(num_overlaps):
        cell = distance * num_overlaps + overlap
        for lane in range(4):
          counts[query, distance, overlap] += np.int64(lanes[query, lane, cell])


def add(
  queries: np.ndarray,
  query_sets: np.ndarray,
  database: np.ndarray,
  database_sets: np.ndarray,
  counts: np.ndarray,
  chunk_rows: int | None = None,
) -> None:
  """Add every pair of a query and a database item to `counts`.

  Codes and label sets are uint32 [Q or N, words], `counts` is int64
  [Q, K+1, S+1]; no pair may share more than S labels. `chunk_rows` bounds the
  database rows in memory.
  """
  queries = np.ascontiguousarray(queries)
  query_sets = np.ascontiguousarray(query_sets)
  chunk_rows = chunk_rows or CHUNK_ROWS
  for start in range(0, len(database), chunk_rows):
    rows = slice(start, start + chunk_rows)
    chunk = np.ascontiguousarray(database[rows].T)
    chunk_sets = np.ascontiguousarray(database_sets[rows].T)

    def work(first, last, chunk=chunk, chunk_sets=chunk_sets):
      _add_chunk(
        queries[first:last],
        query_sets[first:last],
        chunk,
        chunk_sets,
        counts[first:last],
      )

    threads.map_blocks(work, len(queries), QUERY_BLOCK)
