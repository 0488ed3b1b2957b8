"""What hosts tell each other about a run, so that none goes on alone."""

import contextlib
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax

from dsh_jax import errors
from dsh_jax.runs import links

_VERDICT_SECS = 25  # For it to be known which host has made a collective fail.


class Hosts:
  """The hosts of a run; a single one tells itself.

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
    """Tell all hosts something; waits until all have told their own.

    Args:
      content: What JSON can hold.

    Returns:
      What each host told, by its number.
    """
    return self._links.exchange(content) if self._links else [content]

  def part(self) -> None:
    """Wait until all hosts are here; each ends by itself from then on."""
    if self._links:
      self._links.part()
    self._links = None

  def request_stop(self, signal_number: int) -> None:
    """Let all hosts stop together because of a signal."""
    if self._links:
      self._links.request_stop(signal_number)

  def should_stop(self) -> int:
    """Return the number of a signal, or 0; the n-th answer is that of all.

    All hosts ask the same number of times.
    """
    return self._links.should_stop() if self._links else 0

  def assert_equal(self, make_facts: Callable[[], Mapping[str, Any]]) -> None:
    """Check that all hosts agree.

    Args:
      make_facts: Returns name, as an error begins with it -> what JSON can
        hold; not called on a single host.

    Raises:
      UserError: They do not; every fact that differs is named, with the value
        of each host.
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
    """Do what `ending` does, and wait at the end until all hosts are here.

    Raises:
      UserError: JAX has joined processes that are not connected.
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
    """End all hosts if one ends inside; each prints the reason in one line.

    A host of several that fails ends its process here, as do the others: with
    its exit code, or that of `errors.LostHostError` if it was killed.
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
