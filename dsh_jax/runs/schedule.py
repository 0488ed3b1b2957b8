"""When a run validates and saves, and how steps are grouped into calls."""

from collections.abc import Mapping
from typing import Any

Group = tuple[int, int]  # First step, last step + 1.
_MOST_STEPS = 256


def count_steps(train: Mapping[str, Any], num_items: int) -> tuple[int, int]:
  """Return the steps of an epoch, and of the whole training.

  Args:
    train: The section of the configuration.
    num_items: Items of the training split.
  """
  steps_per_epoch = num_items // train.batch_size
  return steps_per_epoch, steps_per_epoch * train.num_epochs


def stops(
  train: Mapping[str, Any], steps_per_epoch: int, num_steps: int
) -> tuple[set[int], set[int]]:
  """Return the steps after which a run validates, and after which it saves.

  Args:
    train: The section of the configuration.
    steps_per_epoch: Whole batches of the training split.
    num_steps: Steps of the whole training.
  """
  every = train.validate_every_epochs * steps_per_epoch
  validated = {*range(0, num_steps, every), num_steps} - {0}
  saved = set(validated)
  if train.checkpoint_every_steps:
    saved.update(range(0, num_steps, train.checkpoint_every_steps))
  return validated, saved - {0}


def even_part(steps_per_epoch: int) -> int:
  """Return the largest divisor up to 256: groups of one size compile once."""
  sizes = range(1, min(steps_per_epoch, _MOST_STEPS) + 1)
  return max(size for size in sizes if steps_per_epoch % size == 0)


def groups(start: int, saved_at: set[int], size: int) -> list[Group]:
  """Return the groups of steps, one group a call.

  No group passes a step that is saved. A run that continues at the end of any
  group has the same groups from there on, and so the same bits.

  Args:
    start: Steps taken before.
    saved_at: Steps to save after; the last one ends the run.
    size: Steps in one call, at least 1.
  """
  result = []
  for stop in sorted(at for at in saved_at if at > start):
    for first in range(start, stop, size):
      result.append((first, min(first + size, stop)))
    start = stop
  return result
