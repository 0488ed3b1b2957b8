"""A trace of chosen steps, for TensorBoard's profiler or Perfetto."""

import contextlib
from collections.abc import Sequence
from typing import Any, Self

import jax

from dsh_jax.runs import schedule


class Trace:
  """Trace the calls that take some steps."""

  def __init__(self, folder: str, steps: Sequence[int]):
    """Trace nothing yet.

    Args:
      folder: Folder of the trace.
      steps: First and last step, from 1; () for none.
    """
    self._folder = folder
    self._first, self._last = steps or (0, 0)
    self._stack = contextlib.ExitStack()

  def __enter__(self) -> Self:
    return self

  def __exit__(self, *exception) -> None:
    self._stack.close()

  @contextlib.contextmanager
  def around(self, group: schedule.Group):
    """Name the call, and start the trace at its first step."""
    if group[0] < self._last and self._first <= group[1] and self._first:
      self._stack.enter_context(jax.profiler.trace(self._folder))
      self._first = 0
    with jax.profiler.StepTraceAnnotation("train", step_num=group[0]):
      yield

  def after(self, group: schedule.Group, outputs: Any) -> None:
    """Wait for the outputs and end the trace after its last step."""
    if self._last and not self._first and group[1] >= self._last:
      jax.block_until_ready(outputs)
      self._stack.close()
      self._last = 0
