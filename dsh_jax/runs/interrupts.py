"""SIGTERM and SIGINT: stop at once if nothing is lost, else after the step.

A scheduler sends SIGTERM some seconds before it takes a machine away; Ctrl-C
sends SIGINT.
"""

import contextlib
import os
import signal
import threading
from collections.abc import Iterator

from dsh_jax.runs import hosts

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


class StopRequested(Exception):
  """Breaks off the work in progress because of a signal."""


class Interrupts:
  """Turns both signals into `Stopped`, at safe points.

  A signal to one of several hosts stops all of them; where signals are
  deferred, after a step on which they agree.
  """

  def __init__(self, all_hosts: hosts.Hosts):
    """Install nothing yet; see `handled`.

    Args:
      all_hosts: The hosts that stop together.
    """
    self._hosts = all_hosts
    self._noted = 0
    self._is_deferred = False

  @contextlib.contextmanager
  def handled(self) -> Iterator[None]:
    """Handle signals inside; in threads other than the main one, do nothing.

    Raises:
      Stopped: At once, unless signals are deferred.
    """
    if threading.current_thread() is not threading.main_thread():
      yield
      return
    before = {n: signal.signal(n, self._receive) for n in _SIGNALS}
    try:
      yield
    finally:
      for number, handler in before.items():
        # None: not installed from Python, which cannot restore it.
        signal.signal(number, handler or signal.SIG_DFL)

  @contextlib.contextmanager
  def deferred(self) -> Iterator[None]:
    """Only record signals inside; `requested` reports them.

    Raises:
      Stopped: At the end, if a signal was recorded and no other error is being
        raised; at once, if SIGINT follows another signal.
    """
    self._is_deferred = True
    try:
      yield
    finally:
      self._is_deferred = False
    if self._noted:
      raise Stopped(self._noted)

  def requested(self) -> bool:
    """Return whether to save and stop; hosts get the same n-th answer.

    All hosts must call it equally often.
    """
    if self._hosts.count == 1:
      return bool(self._noted)
    agreed = self._hosts.should_stop()
    self._noted = agreed or self._noted
    return bool(agreed)

  def check(self) -> None:
    """Call `requested` where work can be broken off.

    Raises:
      StopRequested: The run should save and stop.
    """
    if self.requested():
      raise StopRequested

  def stopped(self, step: int) -> Stopped:
    """Return what to raise when the checkpoint of `step` is written."""
    return Stopped(self._noted, step)

  def _receive(self, number, frame):
    del frame
    if not self._is_deferred:
      raise Stopped(number)
    if self._noted and number == signal.SIGINT:  # The user insists.
      raise Stopped(number)
    is_first, self._noted = not self._noted, number
    if is_first:
      name = signal.Signals(number).name
      # The signal may have interrupted a print, so this is not one.
      os.write(2, f"\n{name}: stopping after this step.\n".encode())
    self._hosts.request_stop(number)
