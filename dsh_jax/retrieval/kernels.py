"""Compiled loops for the CPU; this module alone imports numba.

Import it inside the function that needs it: compiling and even importing numba
costs time that a program which never compares codes should not pay. The loops
release the interpreter lock, and `threads.map_blocks` spreads them; numba's own
threading is not used because its default layer may not be entered from two
threads at a time.
"""

from collections.abc import Callable

import numba
import numpy as np
from numba.extending import intrinsic

# Items whose distances are computed before they are used. Two bytes or four
# times this stay in the first-level cache beside the counters.
TILE = 2048
# Queries that share a pass over one tile of the database.
QUERY_BLOCK = 16


def compile_loop(function: Callable) -> Callable:
  """Compiles a loop, and keeps the machine code on disk where that works."""
  options = {"nogil": True, "boundscheck": False}
  try:
    return numba.njit(cache=True, **options)(function)
  except RuntimeError:
    # Neither the package's folder nor the user's cache can be written.
    return numba.njit(**options)(function)


@intrinsic
def popcount(typing_context, word):
  """Number of set bits: the processor's instruction, vectorised by LLVM."""

  def generate(context, builder, signature, arguments):
    return builder.ctpop(arguments[0])

  return word(word), generate


@compile_loop
def add_to_histogram(queries, query_sets, database, database_sets, counts):
  """Counts pairs by distance and overlap; no array of pairs exists.

  Args:
    queries: uint32 [Q, words], the codes.
    query_sets: uint32 [Q, words], the label sets.
    database: uint32 [words, N]; transposed, so that the loops over items
      vectorise. N < 2^31.
    database_sets: uint32 [words, N].
    counts: int64 [Q, K+1, S+1], added to.
  """
  num_queries, num_distances, num_overlaps = counts.shape
  num_items = database.shape[1]
  width = np.uint32(num_overlaps)
  one = np.uint32(1)
  bins = np.empty(TILE, np.uint32)
  # Four counters a bin: an increment that waits for the one before it, to the
  # same address, would take several cycles.
  lanes = np.zeros((num_queries, 4, num_distances * num_overlaps), np.uint32)
  for start in range(0, num_items, TILE):
    size = min(TILE, num_items - start)
    for query in range(num_queries):
      for word in range(queries.shape[1]):
        mine = queries[query, word]
        theirs = database[word, start : start + size]
        if word == 0:
          for i in range(size):
            bins[i] = popcount(mine ^ theirs[i])
        else:
          for i in range(size):
            bins[i] += popcount(mine ^ theirs[i])
      for word in range(query_sets.shape[1]):
        mine = query_sets[query, word]
        theirs = database_sets[word, start : start + size]
        if word == 0:
          for i in range(size):
            bins[i] = bins[i] * width + popcount(mine & theirs[i])
        else:
          for i in range(size):
            bins[i] += popcount(mine & theirs[i])
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
