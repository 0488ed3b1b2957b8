"""Metrics come to the host once a line, and after a step that is not finite."""

import numpy as np
import pytest

from dsh_jax import parallel
from dsh_jax.runs import step_metrics


def _read(num_steps, log_every, bad=(), size=1):
  """Return what is read, and how many transfers it took."""
  mesh = parallel.DeviceMesh("jit")
  transfers = []
  fetch = mesh.fetch
  mesh.fetch = lambda tree: transfers.append(1) or fetch(tree)
  metrics = step_metrics.StepMetrics(mesh, 0, log_every)
  found, num_skipped = [], 0
  for first in range(0, num_steps, size):
    columns = {"loss": [], "is_finite": [], "num_skipped": []}
    for step in range(first, first + size):
      num_skipped += step in bad
      columns["loss"].append(np.float32(step / 8))
      columns["is_finite"].append(step not in bad)
      columns["num_skipped"].append(num_skipped)
    found += metrics.read()
    held = {name: np.array(column) for name, column in columns.items()}
    metrics.add((first, first + size), mesh.replicate(held))
  metrics.prepare()
  found += metrics.read()
  return [(step, values["loss"]) for step, values in found], len(transfers)


@pytest.mark.parametrize("size", [1, 2, 6])
def test_a_line_is_one_transfer(size):
  found, transfers = _read(12, 6, size=size)
  assert found == [(5, 5 / 8), (11, 11 / 8)]
  assert transfers == 2


@pytest.mark.parametrize("size", [1, 2])
def test_every_bad_step_is_read(size):
  found, _ = _read(20, 6, bad={2, 3, 7, 11, 18}, size=size)
  assert [step for step, _ in found] == [2, 3, 5, 7, 11, 17, 18]
  assert all(loss == step / 8 for step, loss in found)
