"""SIGTERM and SIGINT: at once where nothing is lost, else after the step.

A scheduler that takes a machine away sends SIGTERM some seconds before; a
person presses Ctrl-C, which is SIGINT.
"""

import contextlib
import os
import signal
import threading
from collections.abc import Iterator

import jax
from jax.experimental import multihost_utils

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Stopped(SystemExit):
  """A signal has ended the run; the exit code is 128 + its number."""

  def __init__(self, number: int, saved_step: int | None = None):
    """Describe the signal that ended the run.

    Args:
      number: Its number.
      saved_step: The step of the checkpoint that was written because of it;
        None if none was.
    """
    super().__init__(128 + number)
    self._name = signal.Signals(number).name
    self._saved_step = saved_step

  def __str__(self) -> str:
    saved = ""
    if self._saved_step is not None:
      saved = f" after step {self._saved_step}, which is saved"
    return f"Stopped by {self._name}{saved}. The same command continues."


class Interrupts:
  """Turns both signals into `Stopped`, where the run can bear it.

  On several hosts, SIGTERM belongs to JAX's preemption service: one host's
  notice reaches all, and they agree on the step after which they stop.
  """

  def __init__(self):
    """Notes nothing yet; signals are handled inside `handled`."""
    self._noted = 0
    self._is_deferred = False
    self._asked = 0

  @contextlib.contextmanager
  def handled(self) -> Iterator[None]:
    """Handles the signals inside; a thread that cannot, leaves them.

    Raises:
      Stopped: At once, wherever the run is, unless the signal is deferred.
    """
    if threading.current_thread() is not threading.main_thread():
      yield
      return
    numbers = _SIGNALS if jax.process_count() == 1 else (signal.SIGINT,)
    before = {n: signal.signal(n, self._receive) for n in numbers}
    try:
      yield
    finally:
      for number, handler in before.items():
        signal.signal(number, handler)

  @contextlib.contextmanager
  def deferred(self) -> Iterator[None]:
    """Inside, a signal is only noted, for `requested` to say.

    Raises:
      Stopped: At the end, if one was noted and no other error is on its way;
        at once, if a person sends SIGINT after another signal.
    """
    self._is_deferred = True
    try:
      yield
    finally:
      self._is_deferred = False
    if self._noted:
      raise Stopped(self._noted)

  @contextlib.contextmanager
  def polled(self) -> Iterator[None]:
    """Inside, on several hosts, a signal is raised on all of them by `poll`.

    Raises:
      Stopped: On a single host at once; on several at the end as well.
    """
    if jax.process_count() == 1:
      yield
      return
    with self.deferred():
      yield

  def poll(self) -> None:
    """Stop all hosts at the same call; each calls it equally often.

    Raises:
      Stopped: A host was told to stop.
    """
    if jax.process_count() > 1 and self.requested(self._asked + 1):
      raise Stopped(self._noted)

  def requested(self, step: int) -> bool:
    """Whether to save and stop after a step; all hosts ask after the same ones.

    Args:
      step: How many steps are done, counted from the start of the run; rising
        from call to call.

    Returns:
      The same on all hosts.
    """
    if jax.process_count() == 1:
      return bool(self._noted)
    # The hosts agree on the first number that none has asked about, so there
    # may be no gap.
    for number in range(self._asked + 1, step + 1):
      if multihost_utils.reached_preemption_sync_point(number):
        self._noted = self._noted or signal.SIGTERM
        return True
    self._asked = step
    return False

  def stopped(self, step: int) -> Stopped:
    """Returns what to raise when the checkpoint of `step` is written."""
    return Stopped(self._noted, step)

  def _receive(self, number, frame):
    del frame
    if not self._is_deferred:
      raise Stopped(number)
    if self._noted and number == signal.SIGINT:  # A person insists.
      raise Stopped(number)
    is_first, self._noted = not self._noted, number
    if is_first:
      name = signal.Signals(number).name
      # Not print: the signal may have interrupted one.
      os.write(2, f"\n{name}: stopping after this step.\n".encode())
    if jax.process_count() > 1:
      os.kill(os.getpid(), signal.SIGTERM)
