"""Compiled loops for the CPU: what the loops in other modules share.

Import the modules that import this one inside the function that needs them:
compiling and even importing numba costs time that a program which never
compares codes should not pay. The loops release the interpreter lock, and
`threads.map_blocks` spreads them; numba's own threading is not used because its
default layer may not be entered from two threads at a time.
"""

from collections.abc import Callable

import numba
from numba.extending import intrinsic

# Items whose distances are computed before they are used; they stay in the
# first-level cache.
TILE = 2048


def compile_loop(function: Callable) -> Callable:
  """Compiles a loop, and keeps the machine code on disk where that works.

  A changed file is compiled again, but not the loops of other files that call
  into it: after a change of this one, delete `__pycache__`.

  Args:
    function: Of what numba's nopython mode knows; bounds are not checked.
  """
  options = {"nogil": True, "boundscheck": False}
  try:
    return numba.njit(cache=True, **options)(function)
  except RuntimeError:
    # Neither the package's folder nor the user's cache can be written.
    return numba.njit(**options)(function)


@intrinsic
def popcount(typing_context, word):
  """Number of set bits of an unsigned integer, in its own type.

  It is the processor's instruction, vectorised by LLVM.
  """

  def generate(context, builder, signature, arguments):
    return builder.ctpop(arguments[0])

  return word(word), generate


@compile_loop
def tile_distances(words, database, start, size, out):
  """Writes the distances of one query to a tile of the database.

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
