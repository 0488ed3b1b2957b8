"""Communication between the hosts of a run, so that all stop together."""

import contextlib
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax

from dsh_jax import errors
from dsh_jax.runs import links

_VERDICT_SECS = 25  # Seconds to wait, after a collective fails, for the cause.


class Hosts:
  """The hosts of a run, possibly one.

  Attributes:
    index: Number of this host, from 0.
    count: Number of hosts.
  """

  def __init__(self):
    """Take the links of this process, if it has any."""
    self._links = links.current()
    self.index = self._links.index if self._links else 0
    self.count = self._links.count if self._links else 1

  def exchange(self, content: Any) -> list[Any]:
    """All-gather a JSON value over hosts (blocking).

    Args:
      content: The value of this host.

    Returns:
      The values of all hosts, in the order of their numbers.
    """
    return self._links.exchange(content) if self._links else [content]

  def part(self) -> None:
    """Wait until all hosts are here; after that, each may end on its own."""
    if self._links:
      self._links.part()
    self._links = None

  def request_stop(self, signal_number: int) -> None:
    """Let all hosts stop together because of a signal."""
    if self._links:
      self._links.request_stop(signal_number)

  def should_stop(self) -> int:
    """Return a signal's number, or 0; all hosts get the same n-th answer.

    All hosts must call it equally often.
    """
    return self._links.should_stop() if self._links else 0

  def assert_equal(self, make_facts: Callable[[], Mapping[str, Any]]) -> None:
    """Check that all hosts agree.

    Args:
      make_facts: Returns name, which begins the error message -> JSON value;
        not called on a single host.

    Raises:
      UserError: They do not; the message has every fact that differs, with the
        value on each host.
    """
    if self.count == 1:
      return
    told = self.exchange(dict(make_facts()))
    different = []
    for name in sorted({name for one in told for name in one}):
      by_value: dict[str, list[int]] = {}
      for host, one in enumerate(told):
        by_value.setdefault(str(one.get(name)), []).append(host)
      if len(by_value) > 1:
        values = " and ".join(
          f"{value} on {links.name(hosts)}" for value, hosts in by_value.items()
        )
        different.append(f"{name} is {values}")
    if different:
      raise errors.UserError(
        f"The hosts differ: {'; '.join(different)}. Start all of them with the"
        " same command, code and data."
      )

  @contextlib.contextmanager
  def together(self) -> Iterator[None]:
    """Do as `ending`, and wait at the end until all hosts are here.

    Raises:
      UserError: JAX runs on several hosts that `Links` does not connect.
    """
    if jax.process_count() != self.count:
      raise errors.UserError(
        f"JAX runs on {jax.process_count()} hosts. Start all with"
        " --distributed, which lets them stop together."
      )
    with self.ending():
      yield
      self.part()

  @contextlib.contextmanager
  def ending(self) -> Iterator[None]:
    """End all hosts if one fails inside; each prints the reason in one line.

    All exit with the code of the failed host, or with that of
    `errors.LostHostError` if it was killed. A single host raises its error.
    """
    try:
      yield
    except BaseException as error:
      if self._links is None:
        raise
      self._end(error)

  def _end(self, error):
    if isinstance(error, jax.errors.JaxRuntimeError):
      time.sleep(_VERDICT_SECS)  # If a host was lost, this one ends meanwhile.
    text = str(error) or type(error).__name__
    if isinstance(error, errors.Error):
      code = error.exit_code
    elif isinstance(error, SystemExit):
      code = error.code
    else:
      traceback.print_exception(error)
      text, code = f"{type(error).__name__}: {text}", 1
    self._links.end(text, code)
    links.leave(text, code)
