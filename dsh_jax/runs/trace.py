"""A trace of chosen steps, for TensorBoard's profiler or Perfetto."""

import contextlib
from collections.abc import Sequence
from typing import Any, Self

import jax


class Trace:
  """Trace the calls that take some steps."""

  def __init__(self, folder: str, steps: Sequence[int]):
    """Trace nothing yet.

    Args:
      folder: Where the trace is written.
      steps: The first and the last step, from 1; () for none.
    """
    self._folder = folder
    self._first, self._last = steps or (0, 0)
    self._stack = contextlib.ExitStack()

  def __enter__(self) -> Self:
    return self

  def __exit__(self, *exception) -> None:
    self._stack.close()

  @contextlib.contextmanager
  def around(self, group: tuple[int, int]):
    """Name a call, and starts the trace if it has come.

    Args:
      group: First step, from 0, and last step + 1 of the call.
    """
    if group[0] < self._last and self._first <= group[1] and self._first:
      self._stack.enter_context(jax.profiler.trace(self._folder))
      self._first = 0
    with jax.profiler.StepTraceAnnotation("train", step_num=group[0]):
      yield

  def after(self, group: tuple[int, int], outputs: Any) -> None:
    """End the trace if its last step was taken.

    Args:
      group: As for `around`.
      outputs: Of the call, which is waited for.
    """
    if self._last and not self._first and group[1] >= self._last:
      jax.block_until_ready(outputs)
      self._stack.close()
      self._last = 0
