"""The rows of each batch, and batches prefetched by threads."""

import collections
import functools
from collections.abc import Callable, Iterator
from concurrent import futures
from typing import TypeVar

import numpy as np

from dsh_jax import errors, parallel

T = TypeVar("T")


def batch_indices(
  seed: int, step: int, num_rows: int, batch_size: int
) -> np.ndarray:
  """Return the rows of the batch of a step.

  An epoch is a permutation of all rows that depends on seed and epoch only, cut
  into batches; rows that do not fill a batch are skipped. There is no state to
  save: a resumed run reads the same batches.

  Args:
    seed: Seed of the run, >= 0.
    step: Number of the step, from 0.
    num_rows: Number of training images.
    batch_size: B, the global batch, at least 1.

  Returns:
    int64 [B], from 0 to num_rows - 1, all different.
  """
  steps_per_epoch = num_rows // batch_size
  if steps_per_epoch == 0:
    raise errors.UserError(
      f"A batch of {batch_size} needs at least as many training images; there"
      f" are {num_rows}. Change config.train.batch_size."
    )
  epoch, batch = divmod(step, steps_per_epoch)
  order = _order(seed, epoch, num_rows)
  return order[batch * batch_size : (batch + 1) * batch_size].copy()


@functools.lru_cache(maxsize=2)
def _order(seed, epoch, num_rows):
  return np.random.default_rng([seed, epoch]).permutation(num_rows)


def prefetch(
  make_batch: Callable[[int], T], start: int, stop: int, depth: int
) -> Iterator[T]:
  """Yield make_batch(start), ..., make_batch(stop - 1) from threads, in order.

  `depth` >= 1 batches are prepared ahead, up to one per core at a time. The
  consumer of a batch gets its exception. Closing the iterator ends the threads.
  """
  # The length of the queue bounds the memory.
  pool = futures.ThreadPoolExecutor(
    min(depth, parallel.num_cores()), thread_name_prefix="prefetch"
  )
  waiting = collections.deque()
  try:
    for step in range(start, stop + depth):
      if step < stop:
        waiting.append(pool.submit(make_batch, step))
      if step >= start + depth:
        yield waiting.popleft().result()
  finally:
    pool.shutdown(cancel_futures=True)
