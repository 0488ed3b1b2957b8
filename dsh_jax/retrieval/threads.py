"""Process blocks of rows on all cores."""

import concurrent.futures
from collections.abc import Callable
from typing import Any

from dsh_jax import parallel


def map_blocks(
  work: Callable[[int, int], Any], num_rows: int, block: int
) -> list:
  """Return the results of `work(first, last)` for blocks of rows, in order.

  `work` processes rows first to last - 1 and should release the GIL, as NumPy
  and the compiled loops do.
  """
  starts = range(0, num_rows, block)
  if len(starts) < 2:
    return [work(start, min(start + block, num_rows)) for start in starts]
  with concurrent.futures.ThreadPoolExecutor(parallel.num_cores()) as pool:
    return list(pool.map(lambda i: work(i, min(i + block, num_rows)), starts))
