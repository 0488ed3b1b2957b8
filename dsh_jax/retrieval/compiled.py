"""Compiled CPU loops shared by the numba backends.

Import the backends on use: importing numba and compiling loops is slow. The
loops release the GIL, and `threads.map_blocks` runs them in parallel. The
default layer of numba's own threading is not safe to enter from two threads.
"""

from collections.abc import Callable

import numba
from numba.extending import intrinsic

# Items whose distances stay in the first-level cache until they are used.
TILE = 2048


def compile_loop(function: Callable) -> Callable:
  """Compile a loop without bounds checks; cache it on disk if possible.

  After a change to this file, delete `__pycache__`: numba does not recompile
  the loops of other files that call it.
  """
  options = {"nogil": True, "boundscheck": False}
  try:
    return numba.njit(cache=True, **options)(function)
  except RuntimeError:
    # Neither the package's folder nor the user's cache can be written.
    return numba.njit(**options)(function)


@intrinsic
def popcount(typing_context, word):
  """Return the number of set bits of an unsigned integer, in its type.

  LLVM emits the processor's own instruction and vectorises it.
  """

  def generate(context, builder, signature, arguments):
    return builder.ctpop(arguments[0])

  return word(word), generate


@compile_loop
def tile_distances(words, database, start, size, out):
  """Write the distances of one query to a tile of the database.

  Args:
    words: uint32 [words], the query.
    database: uint32 [words, N]; transposed, so that the loop vectorises.
    start: First item of the tile.
    size: Items of the tile, at most N - start.
    out: uint32 [>= size], written to.
  """
  for word in range(len(words)):
    mine = words[word]
    theirs = database[word, start : start + size]
    if word == 0:
      for i in range(size):
        out[i] = popcount(mine ^ theirs[i])
    else:
      for i in range(size):
        out[i] += popcount(mine ^ theirs[i])
