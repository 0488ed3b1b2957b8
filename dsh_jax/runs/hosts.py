"""What hosts tell each other about a run, so that none goes on alone."""

import contextlib
import itertools
import json
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax

# Hosts meet where one may need hours that another does not, to decode images
# for example. Collectives of devices give up after seconds on some platforms,
# so messages go by the store of JAX's coordination service, which has no public
# name; orbax uses the same. The service itself ends all hosts if one is gone.
from jax._src import distributed

from dsh_jax import errors

_PREFIX = "dsh_jax"
_POLL_MSECS = 1000  # Between two looks whether another host has given up.
_LEAVE_SECS = 10  # That the host of the store waits for the others to leave.

# Names of messages, the same sequence on all hosts of one process's life.
_numbers = itertools.count()


class Hosts:
  """The hosts of a run; a single one tells itself.

  Attributes:
    index: Number of this host, from 0.
    count: Number of hosts.
  """

  def __init__(self):
    """Find the others."""
    self.index = jax.process_index()
    self.count = jax.process_count()

  def exchange(self, content: Any) -> list[Any]:
    """Tell all hosts something; waits until all have told their own.

    Args:
      content: What JSON can hold.

    Returns:
      What each host told, by its number.

    Raises:
      UserError: Another host has given up; with its reason.
    """
    if self.count == 1:
      return [content]
    number = next(_numbers)
    _client().key_value_set(
      f"{_PREFIX}/{number}/{self.index}", json.dumps(content)
    )
    return [self._wait_for(f"{number}/{host}") for host in range(self.count)]

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
          f"{value} on {_name(hosts)}" for value, hosts in by_value.items()
        )
        different.append(f"{name} is {values}")
    if different:
      raise errors.UserError(
        f"The hosts differ: {'; '.join(different)}. Start all of them with the"
        " same command, code and data."
      )

  @contextlib.contextmanager
  def together(self) -> Iterator[None]:
    """Let the others know the reason if this host gives up inside.

    Raises:
      UserError: In place of an error of JAX that another host caused by giving
        up; with the reason of that host.
    """
    if self.count == 1:
      yield
      return
    try:
      yield
    except _GaveUp:
      raise
    except BaseException as error:
      if isinstance(error, jax.errors.JaxRuntimeError):
        self._raise_if_given_up()
      self._give_up(error)
      raise

  def _wait_for(self, key):
    while True:
      try:
        text = _client().blocking_key_value_get(f"{_PREFIX}/{key}", _POLL_MSECS)
      except jax.errors.JaxRuntimeError as error:
        if "DEADLINE_EXCEEDED" not in str(error):
          raise
        self._raise_if_given_up()
      else:
        return json.loads(text)

  def _give_up(self, error):
    reason = " ".join(str(error).split()) or type(error).__name__
    with contextlib.suppress(jax.errors.JaxRuntimeError):
      client = _client()
      client.key_value_set(f"{_PREFIX}/gave_up/{self.index}", reason, True)
      client.key_value_set(f"{_PREFIX}/leaves/{self.index}", "", True)
      if self.index == 0:  # The store ends with this process.
        until = time.monotonic() + _LEAVE_SECS
        for host in range(1, self.count):
          msecs = max(1, round(1000 * (until - time.monotonic())))
          client.blocking_key_value_get(f"{_PREFIX}/leaves/{host}", msecs)

  def _raise_if_given_up(self):
    client = _client()
    for key, reason in client.key_value_dir_get(f"{_PREFIX}/gave_up/"):
      client.key_value_set(f"{_PREFIX}/leaves/{self.index}", "", True)
      raise _GaveUp(f"Host {key.rpartition('/')[2]} has ended: {reason}")


class _GaveUp(errors.UserError):
  """Another host has given up."""


def _client():
  return distributed.global_state.client


def _name(hosts: list[int]) -> str:
  numbers = ", ".join(map(str, hosts))
  return f"host {numbers}" if len(hosts) == 1 else f"hosts {numbers}"
