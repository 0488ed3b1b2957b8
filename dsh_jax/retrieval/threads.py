"""Blocks of rows spread over the processors this process may use."""

import concurrent.futures
import os
from collections.abc import Callable
from typing import Any


def num_threads() -> int:
  """Returns how many threads this process may use."""
  if hasattr(os, "sched_getaffinity"):
    return len(os.sched_getaffinity(0))
  return os.cpu_count() or 1


def map_blocks(
  work: Callable[[int, int], Any], num_rows: int, block: int
) -> list:
  """Calls `work(first, last)` for blocks of rows, on all processors.

  Args:
    work: Handles rows first to last - 1; gains speed only as far as it
      releases the interpreter lock, as NumPy and the compiled loops do.
    num_rows: How many rows there are.
    block: Rows a call.

  Returns:
    What the calls returned, in order.
  """
  starts = range(0, num_rows, block)
  if len(starts) < 2:
    return [work(start, min(start + block, num_rows)) for start in starts]
  with concurrent.futures.ThreadPoolExecutor(num_threads()) as pool:
    return list(pool.map(lambda i: work(i, min(i + block, num_rows)), starts))
