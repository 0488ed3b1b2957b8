"""Nearest neighbours on a CPU."""

from collections.abc import Callable

import numpy as np

from dsh_jax.retrieval import compiled, threads

# Database rows transposed at a time.
CHUNK_ROWS = 1 << 18
# Entries of all lists of nearest items that a thread updates at a time.
LIST_ENTRIES = 1 << 17
# Queries that share a pass over one tile of the database.
QUERY_BLOCK = 16
# Items skipped at once if none is near enough.
GROUP = 64


@compiled.compile_loop
def _tighten(counts, k, limit, below):
  """Lower the limit while at least k items stay below it."""
  while below - counts[limit - 1] >= k:
    limit -= 1
    below -= counts[limit]
  return limit, below


@compiled.compile_loop
def _keep_nearest(queries, database, first_row, filled, distances, rows):
  """Merge a chunk of the database into every query's list of nearest items.

  Counts per distance bound the distances that can still enter a list; groups of
  items beyond the bound are skipped. Candidates are appended in row order, so a
  stable counting sort by distance orders ties by lowest row.

  Args:
    queries: uint32 [Q, words].
    database: uint32 [words, n], rows first_row to first_row + n - 1.
    first_row: Row of the chunk's first item; chunks come in rising order.
    filled: Entries that the lists hold so far, <= k.
    distances: int32 [Q, k], sorted; updated.
    rows: int64 [Q, k]; updated.
  """
  num_queries, k = distances.shape
  num_items = database.shape[1]
  num_distances = 32 * queries.shape[1] + 1
  # At most 2k entries are in use; the rest is for the candidates of a tile and
  # for slack, which makes compaction rare.
  capacity = 3 * k + 2 * compiled.TILE
  kept_distances = np.empty((num_queries, capacity), np.uint16)
  kept_rows = np.empty((num_queries, capacity), np.int64)
  sizes = np.zeros(num_queries, np.int64)
  counts = np.zeros((num_queries, num_distances), np.int64)
  # Entries at distances below the limit are in use; `belows` counts them.
  limits = np.full(num_queries, num_distances, np.int64)
  belows = np.zeros(num_queries, np.int64)
  buffer = np.empty(compiled.TILE, np.uint32)

  for query in range(num_queries):
    for i in range(filled):
      kept_distances[query, i] = distances[query, i]
      kept_rows[query, i] = rows[query, i]
      counts[query, distances[query, i]] += 1
    sizes[query] = filled
    limits[query], belows[query] = _tighten(
      counts[query], k, num_distances, filled
    )

  for start in range(0, num_items, compiled.TILE):
    length = min(compiled.TILE, num_items - start)
    for query in range(num_queries):
      compiled.tile_distances(queries[query], database, start, length, buffer)
      count = counts[query]
      limit = limits[query]
      below = belows[query]
      size = sizes[query]
      # With k entries in use, later rows at the largest distance lose the tie.
      accept = limit - 1 if below >= k else limit
      for group in range(0, length, GROUP):
        stop = min(group + GROUP, length)
        nearest = buffer[group]
        for i in range(group, stop):
          nearest = min(nearest, buffer[i])
        if nearest >= accept:
          continue
        for i in range(group, stop):
          if buffer[i] < accept:
            distance = np.int64(buffer[i])
            kept_distances[query, size] = distance
            kept_rows[query, size] = first_row + start + i
            size += 1
            count[distance] += 1
            below += 1
            limit, below = _tighten(count, k, limit, below)
            accept = limit - 1 if below >= k else limit
      if size + compiled.TILE > capacity:
        used = 0
        for i in range(size):
          if kept_distances[query, i] < limit:
            kept_distances[query, used] = kept_distances[query, i]
            kept_rows[query, used] = kept_rows[query, i]
            used += 1
        size = used
      limits[query] = limit
      belows[query] = below
      sizes[query] = size

  places = np.empty(num_distances, np.int64)
  for query in range(num_queries):
    total = 0
    for distance in range(limits[query]):
      places[distance] = total
      total += counts[query, distance]
    for i in range(sizes[query]):
      distance = kept_distances[query, i]
      if distance < limits[query]:
        place = places[distance]
        places[distance] += 1
        if place < k:
          distances[query, place] = distance
          rows[query, place] = kept_rows[query, i]


@compiled.compile_loop
def _count_within(queries, database, radius, counts):
  """Add the number of items within the radius to counts, int64 [Q]."""
  buffer = np.empty(compiled.TILE, np.uint32)
  for start in range(0, database.shape[1], compiled.TILE):
    length = min(compiled.TILE, database.shape[1] - start)
    for query in range(len(queries)):
      compiled.tile_distances(queries[query], database, start, length, buffer)
      near = 0
      for i in range(length):
        near += buffer[i] <= radius
      counts[query] += near


@compiled.compile_loop
def _list_within(queries, database, first_row, radius, places, distances, rows):
  """Write the items within the radius from `places`, int64 [Q], onwards."""
  buffer = np.empty(compiled.TILE, np.uint32)
  for start in range(0, database.shape[1], compiled.TILE):
    length = min(compiled.TILE, database.shape[1] - start)
    for query in range(len(queries)):
      compiled.tile_distances(queries[query], database, start, length, buffer)
      place = places[query]
      for i in range(length):
        if buffer[i] <= radius:
          distances[place] = buffer[i]
          rows[place] = first_row + start + i
          place += 1
      places[query] = place


def _each_chunk(
  work: Callable[[slice, np.ndarray, int], None],
  num_queries: int,
  database: np.ndarray,
  chunk_rows: int | None,
  block_size: int = QUERY_BLOCK,
) -> None:
  """Call work(queries, chunk [words, n], first row) for all chunks."""
  chunk_rows = chunk_rows or CHUNK_ROWS
  for start in range(0, len(database), chunk_rows):
    chunk = np.ascontiguousarray(database[start : start + chunk_rows].T)

    def one(first, last, chunk=chunk, start=start):
      work(slice(first, last), chunk, start)

    threads.map_blocks(one, num_queries, block_size)


def top_k(
  queries: np.ndarray, database: np.ndarray, k: int, chunk_rows: int | None
) -> tuple[np.ndarray, np.ndarray]:
  """Find the k nearest items; `neighbors.top_k` checks the arguments."""
  queries = np.ascontiguousarray(queries)
  distances = np.zeros((len(queries), k), np.int32)
  rows = np.zeros((len(queries), k), np.int64)

  def work(block, chunk, start):
    filled = min(start, k)
    _keep_nearest(
      queries[block], chunk, start, filled, distances[block], rows[block]
    )

  block_size = max(1, min(QUERY_BLOCK, LIST_ENTRIES // k))
  _each_chunk(work, len(queries), database, chunk_rows, block_size)
  return distances, rows


def count_within(
  queries: np.ndarray,
  database: np.ndarray,
  radius: int,
  chunk_rows: int | None = None,
) -> np.ndarray:
  """Count the items within a radius of each query, int64 [Q]."""
  queries = np.ascontiguousarray(queries)
  counts = np.zeros(len(queries), np.int64)

  def work(block, chunk, start):
    del start
    _count_within(queries[block], chunk, radius, counts[block])

  _each_chunk(work, len(queries), database, chunk_rows)
  return counts


def within_radius(
  queries: np.ndarray, database: np.ndarray, radius: int, chunk_rows: int | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """List the items within a radius in row order; see `neighbors`."""
  queries = np.ascontiguousarray(queries)
  counts = count_within(queries, database, radius, chunk_rows)
  offsets = np.concatenate([[0], np.cumsum(counts)])
  distances = np.empty(offsets[-1], np.int32)
  rows = np.empty(offsets[-1], np.int64)
  places = offsets[:-1].copy()

  def work(block, chunk, start):
    _list_within(
      queries[block], chunk, start, radius, places[block], distances, rows
    )

  _each_chunk(work, len(queries), database, chunk_rows)
  return offsets, distances, rows
