"""Metrics of steps, kept on the devices until the log needs them."""

from collections.abc import Iterator, Mapping

import jax
import jax.numpy as jnp

from dsh_jax import parallel
from dsh_jax.runs import schedule


class StepMetrics:
  """Metrics of the steps since the last `read`.

  A read is one transfer for all metrics of a group. The number of skipped
  steps shows whether any step was not finite; only then are the metrics of
  all steps since the last read fetched.
  """

  def __init__(
    self, mesh: parallel.DeviceMesh, num_skipped: int, log_every_steps: int
  ):
    """Start with no metrics.

    Args:
      mesh: The devices.
      num_skipped: From the state that training continues from.
      log_every_steps: Steps between two lines of the log.
    """
    self._mesh = mesh
    self._join = mesh.parallelize(_join)
    self._num_skipped = num_skipped
    self._log_every_steps = log_every_steps
    self._groups: list[tuple[schedule.Group, Mapping[str, jax.Array]]] = []
    self._joined: jax.Array | None = None

  def add(
    self, group: schedule.Group, metrics: Mapping[str, jax.Array]
  ) -> None:
    """Keep the metrics of a group of steps, which may still run."""
    self._groups.append((group, metrics))
    if self._has_line(group):
      self.prepare()

  @property
  def last(self) -> Mapping[str, jax.Array] | None:
    """The metrics of the last group; None if all have been read."""
    return self._groups[-1][1] if self._groups else None

  def prepare(self) -> None:
    """Queue the transfer of the last group's metrics on the devices."""
    if self._groups and self._joined is None:
      self._joined = self._join(self._groups[-1][1])

  def read(self) -> Iterator[tuple[int, dict[str, float]]]:
    """Wait for what was prepared, if anything, and yield it.

    Yields:
      (step, from 0, metrics by name) of each step that is logged or is not
      finite, in order.
    """
    if self._joined is None:
      return
    group, metrics = self._groups[-1]
    values = self._by_step(group, sorted(metrics), self._joined)
    if values[-1][1]["num_skipped"] != self._num_skipped:
      self._num_skipped = values[-1][1]["num_skipped"]
      values = [
        pair
        for group, metrics in self._groups
        for pair in self._by_step(group, sorted(metrics), self._join(metrics))
      ]
    self._groups, self._joined = [], None
    for step, metrics in values:
      if self._is_line(step) or not metrics["is_finite"]:
        yield step, metrics

  def _by_step(self, group, names, joined):
    rows = self._mesh.fetch(joined).tolist()
    return [
      (step, dict(zip(names, row, strict=True)))
      for step, row in zip(range(*group), rows, strict=True)
    ]

  def _has_line(self, group):
    return any(self._is_line(step) for step in range(*group))

  def _is_line(self, step):
    return (step + 1) % self._log_every_steps == 0


def _join(metrics):
  """Return {name: [n]} as float32 [n,names], in the order of the names."""
  columns = [metrics[name].astype(jnp.float32) for name in sorted(metrics)]
  return jnp.stack(columns, axis=-1)
