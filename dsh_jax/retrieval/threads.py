"""Blocks of rows spread over the processors this process may use."""

import concurrent.futures
from collections.abc import Callable
from typing import Any

from dsh_jax import parallel


def map_blocks(
  work: Callable[[int, int], Any], num_rows: int, block: int
) -> list:
  """Calls `work(first, last)` for blocks of rows, on all processors.

  Args:
    work: Handles rows first to last - 1; gains speed only as far as it
      releases the interpreter lock, as NumPy and the compiled loops do.
    num_rows: How many rows there are.
    block: Rows a call, at least 1.

  Returns:
    What the calls returned, in order.
  """
  starts = range(0, num_rows, block)
  if len(starts) < 2:
    return [work(start, min(start + block, num_rows)) for start in starts]
  with concurrent.futures.ThreadPoolExecutor(parallel.num_cores()) as pool:
    return list(pool.map(lambda i: work(i, min(i + block, num_rows)), starts))
