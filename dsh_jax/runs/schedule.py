"""After which steps a run validates and saves, and which steps a call takes."""

from collections.abc import Mapping
from typing import Any

_MOST_STEPS = 256  # Of an even part.


def stops(
  train: Mapping[str, Any], steps_per_epoch: int, num_steps: int
) -> tuple[set[int], set[int]]:
  """Return after which steps a run validates, and after which it saves.

  Args:
    train: The section of the configuration.
    steps_per_epoch: Whole batches of training images.
    num_steps: Of the whole training.
  """
  every = train.validate_every_epochs * steps_per_epoch
  validated = {*range(0, num_steps, every), num_steps} - {0}
  saved = set(validated)
  if train.checkpoint_every_steps:
    saved.update(range(0, num_steps, train.checkpoint_every_steps))
  return validated, saved - {0}


def even_part(steps_per_epoch: int) -> int:
  """Return the most steps, at most 256, into which an epoch divides evenly.

  Groups of one size compile once.
  """
  sizes = range(1, min(steps_per_epoch, _MOST_STEPS) + 1)
  return max(size for size in sizes if steps_per_epoch % size == 0)


def groups(start: int, saved_at: set[int], size: int) -> list[tuple[int, int]]:
  """Return (first step, last step + 1) of the groups that one call takes.

  A group never goes past a step that is saved. A run that continues from the
  end of any group has the same groups from there on, and so the same bits.

  Args:
    start: Steps taken before.
    saved_at: After which steps the run saves; the last one is its end.
    size: Steps in one call, at least 1.
  """
  found = []
  for stop in sorted(at for at in saved_at if at > start):
    for first in range(start, stop, size):
      found.append((first, min(first + size, stop)))
    start = stop
  return found
