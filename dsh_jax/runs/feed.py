"""Batches of the training split, read ahead and placed on the devices."""

from collections.abc import Iterator, Sequence
from typing import Any

import ml_collections
import numpy as np

from dsh_jax import data, parallel
from dsh_jax.data import batches
from dsh_jax.runs import schedule


def read(
  config: ml_collections.ConfigDict,
  mesh: parallel.DeviceMesh,
  split: data.Split,
  groups: Sequence[schedule.Group],
) -> Iterator[tuple[schedule.Group, Any]]:
  """Yield each group of steps with its images and labels.

  Args:
    config: seed and train are read.
    mesh: The devices. Each host reads its own rows.
    split: The training items.
    groups: From `schedule.groups`.

  Yields:
    (group, (images [n,B,...], labels [n,B,L])), n steps, on the devices.
  """
  size = config.train.batch_size
  mine = mesh.local_rows(size)

  def make_batch(index):
    rows = [
      batches.batch_indices(config.seed, step, len(split), size)[mine]
      for step in range(*groups[index])
    ]
    images = np.stack([split.take(r) for r in rows])
    labels = np.stack([split.labels[r] for r in rows])
    return groups[index], mesh.shard_batch((images, labels), batch_axis=1)

  return batches.prefetch(make_batch, 0, len(groups), config.train.prefetch)
