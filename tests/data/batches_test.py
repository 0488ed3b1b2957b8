"""Order of the rows, and prefetched batches."""

import threading
import time

import numpy as np
import pytest

from dsh_jax import errors
from dsh_jax.data import batches


def test_an_epoch_is_a_permutation_and_epochs_differ():
  epochs = [
    np.concatenate(
      [batches.batch_indices(3, e * 5 + b, 20, 4) for b in range(5)]
    )
    for e in range(3)
  ]
  for epoch in epochs:
    np.testing.assert_array_equal(np.sort(epoch), np.arange(20))
  assert not np.array_equal(epochs[0], epochs[1])


def test_a_step_depends_on_nothing_but_its_arguments():
  forward = [batches.batch_indices(0, t, 103, 10) for t in range(40)]
  backward = [batches.batch_indices(0, t, 103, 10) for t in reversed(range(40))]
  np.testing.assert_array_equal(forward, backward[::-1])
  assert forward[0].dtype == np.int64
  forward[0][:] = 0  # The caller's copy, not the cached order.
  np.testing.assert_array_equal(
    batches.batch_indices(0, 0, 103, 10), backward[-1]
  )


def test_rows_that_do_not_fill_a_batch_are_left_out_of_the_epoch():
  rows = np.concatenate([batches.batch_indices(0, t, 7, 3) for t in range(2)])
  assert len(set(rows)) == 6


def test_too_few_rows():
  with pytest.raises(errors.UserError, match="config.train.batch_size"):
    batches.batch_indices(0, 0, 7, 8)


@pytest.mark.parametrize("depth", [1, 3, 50])
def test_prefetch_gives_all_in_order(depth):
  assert list(batches.prefetch(lambda t: t * t, 2, 9, depth)) == [
    t * t for t in range(2, 9)
  ]
  assert list(batches.prefetch(lambda t: t, 4, 4, depth)) == []


def test_prefetch_works_ahead_by_its_depth():
  steps = []
  iterator = batches.prefetch(lambda t: steps.append(t) or t, 0, 100, 3)
  assert next(iterator) == 0
  deadline = time.monotonic() + 5
  while len(steps) < 4 and time.monotonic() < deadline:
    time.sleep(0.001)
  assert sorted(steps) == [0, 1, 2, 3]
  iterator.close()


def test_an_exception_reaches_the_caller_and_the_thread_ends():
  def make(step):
    if step == 2:
      raise OSError("lost")
    return step

  iterator = batches.prefetch(make, 0, 9, 2)
  assert [next(iterator), next(iterator)] == [0, 1]
  with pytest.raises(OSError, match="lost"):
    next(iterator)
  assert not [t for t in threading.enumerate() if "prefetch" in t.name]


def test_closing_ends_the_thread():
  iterator = batches.prefetch(lambda t: t, 0, 10**9, 4)
  next(iterator)
  iterator.close()
  assert not [t for t in threading.enumerate() if "prefetch" in t.name]
