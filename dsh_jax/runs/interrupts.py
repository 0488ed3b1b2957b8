"""SIGTERM and SIGINT: at once where nothing is lost, else after the step.

A scheduler that takes a machine away sends SIGTERM some seconds before; a
person presses Ctrl-C, which is SIGINT.
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
  """What is under way is broken off, as a signal was noted."""


class Interrupts:
  """Turns both signals into `Stopped`, where the run can bear it.

  On several hosts a signal to one stops all: where it is deferred, after a step
  on which they agree.
  """

  def __init__(self, all_hosts: hosts.Hosts):
    """Notes nothing yet; signals are handled inside `handled`.

    Args:
      all_hosts: Who stops together.
    """
    self._hosts = all_hosts
    self._noted = 0
    self._is_deferred = False

  @contextlib.contextmanager
  def handled(self) -> Iterator[None]:
    """Handles the signals inside; a thread that cannot, leaves them.

    Raises:
      Stopped: At once, wherever the run is, unless the signal is deferred.
    """
    if threading.current_thread() is not threading.main_thread():
      yield
      return
    before = {n: signal.signal(n, self._receive) for n in _SIGNALS}
    try:
      yield
    finally:
      for number, handler in before.items():
        # What was not installed from Python, Python cannot install again.
        signal.signal(number, handler or signal.SIG_DFL)

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

  def requested(self) -> bool:
    """Whether to save and stop; the n-th answer is the same on all hosts.

    All hosts ask the same number of times.
    """
    if self._hosts.count == 1:
      return bool(self._noted)
    agreed = self._hosts.should_stop()
    self._noted = agreed or self._noted
    return bool(agreed)

  def check(self) -> None:
    """Does what `requested` does, where work can be broken off.

    Raises:
      StopRequested: The run is to save and stop.
    """
    if self.requested():
      raise StopRequested

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
    self._hosts.request_stop(number)
