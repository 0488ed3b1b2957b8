"""Metrics of steps, left on the devices until a line of the log needs them."""

from collections.abc import Iterator, Mapping

import jax
import jax.numpy as jnp

from dsh_jax import parallel
from dsh_jax.runs import schedule


class StepMetrics:
  """Metrics of the steps since the last reading.

  A reading is one transfer, however many metrics and steps there are, unless
  a step was not finite: its number of skipped steps says so, and only then
  the metrics of all steps since the last reading are fetched.
  """

  def __init__(
    self, mesh: parallel.DeviceMesh, num_skipped: int, log_every_steps: int
  ):
    """Hold nothing yet.

    Args:
      mesh: Where steps run.
      num_skipped: Of the state that training continues from.
      log_every_steps: Steps between two lines of the log.
    """
    self._mesh = mesh
    self._join = mesh.parallelize(_join)
    self._num_skipped = num_skipped
    self._log_every_steps = log_every_steps
    self._held: list[tuple[schedule.Group, Mapping[str, jax.Array]]] = []
    self._joined: jax.Array | None = None

  def add(
    self, group: schedule.Group, metrics: Mapping[str, jax.Array]
  ) -> None:
    """Hold the metrics of a group of steps, which may be under way."""
    self._held.append((group, metrics))
    if self._has_line(group):
      self.prepare()

  @property
  def last(self) -> Mapping[str, jax.Array] | None:
    """The metrics of the last group; None if all have been read."""
    return self._held[-1][1] if self._held else None

  def prepare(self) -> None:
    """Make the last group what `read` reads, behind it on the devices."""
    if self._held and self._joined is None:
      self._joined = self._join(self._held[-1][1])

  def read(self) -> Iterator[tuple[int, dict[str, float]]]:
    """Read what was prepared, if anything; waits for it.

    Yields:
      Step, from 0, and its metrics by name, of each step that has a line in
      the log or is not finite, in order.
    """
    if self._joined is None:
      return
    group, metrics = self._held[-1]
    values = self._by_step(group, sorted(metrics), self._joined)
    if values[-1][1]["num_skipped"] != self._num_skipped:
      self._num_skipped = values[-1][1]["num_skipped"]
      values = [
        pair
        for group, metrics in self._held
        for pair in self._by_step(group, sorted(metrics), self._join(metrics))
      ]
    self._held, self._joined = [], None
    for step, found in values:
      if self._is_line(step) or not found["is_finite"]:
        yield step, found

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
