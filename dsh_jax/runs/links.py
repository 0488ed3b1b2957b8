"""Connections of all hosts to host 0, which show at once which host has ended.

JAX notices a lost host when a collective fails or after 100 s without a
heartbeat, and aborts with a C++ stack trace. The operating system closes the
connections of a process however it ends, and those to a lost machine after
`connections.LOST_SECS`.
"""

import asyncio
import contextlib
import itertools
import json
import os
import socket
import sys
import threading
import time
from collections.abc import Sequence
from typing import Any

from dsh_jax import errors
from dsh_jax.runs import connections

_HELLO = "dsh_jax"  # Begins the first message of a host.
_MAX_BYTES = 1 << 26  # Longest message, a line of JSON.
_HELLO_SECS = 10  # Seconds to connect and to send the first message.
_RETRY_SECS = 0.2  # Seconds between attempts to reach host 0.
_QUIET_SECS = 10  # Seconds to wait for hosts before printing a line.
_LEAVE_SECS = 5  # Seconds that a failed host waits for the others to end.
_LOST = (
  "it was killed, or its machine or network failed. Start all hosts again with"
  " the same command to continue."
)

_leaving = threading.Lock()


def leave(text: str, code: int) -> None:
  """End the process at once with one line.

  A normal exit would wait for hosts that are gone.
  """
  with _leaving:
    with contextlib.suppress(OSError, ValueError):  # A reader may be gone.
      sys.stdout.flush()
    os.write(2, f"dsh_jax: {' '.join(text.split())}\n".encode())
    os._exit(code)


class Links:
  """Messages between hosts, by way of host 0.

  Attributes:
    index: Number of this host, from 0.
    count: Number of hosts, at least 2.
  """

  def __init__(self, index: int, count: int):
    """Connect nothing yet."""
    self.index, self.count = index, count
    self._loop = connections.start_loop()
    self._writers: dict[int, asyncio.StreamWriter] = {}  # By host.
    self._joined, self._alone = threading.Event(), threading.Event()
    self._alone.set()
    self._problem = ""  # Why host 0 cannot be reached.
    self._refused = ""  # On host 0, why a host cannot join.
    self._has_parted = self._has_ended = self._is_ending = False
    self._changed = threading.Condition()
    self._numbers = itertools.count()
    self._told: dict[str, dict[int, Any]] = {}  # On host 0, by message.
    self._answers: dict[str, list[Any]] = {}
    self._forget_stop()

  def join(self, host: str, port: int, secs: float) -> None:
    """Connect all hosts.

    Args:
      host: Name or address of host 0.
      port: Port on which host 0 listens.
      secs: How long to wait for hosts that have not started.

    Raises:
      UserError: Host 0 cannot listen on the port, or two hosts have the same
        number or different counts.
      LostHostError: Hosts have not started.
    """
    connect = self._reach(host, port) if self.index else self._listen(port)
    connecting = asyncio.run_coroutine_threadsafe(connect, self._loop)
    if self.index == 0:
      try:
        connecting.result()
      except OSError as error:
        raise errors.UserError(
          f"Host 0 cannot listen on port {port}: {errors.describe(error)}."
          " Change --coordinator."
        ) from None
    started, said = time.monotonic(), []
    while not self._joined.wait(_RETRY_SECS):
      if self._refused:
        raise errors.UserError(self._refused)
      waited, missing = time.monotonic() - started, self._missing()
      if not missing:
        continue  # Host 0, which waits for others, limits the time.
      where = f" at {host}:{port} ({self._problem})" if self.index else ""
      if waited > secs:
        raise errors.LostHostError(
          f"Not started within {secs:g} s: {name(missing)} of {self.count}"
          f"{where}. Start all hosts with the same --coordinator and"
          " --num_processes; --initialization_timeout changes the time."
        )
      if waited > _QUIET_SECS and missing != said:
        said, what = missing, f"{name(missing)} of {self.count}{where}"
        print(f"Waiting for {what}.", file=sys.stderr, flush=True)

  def exchange(self, content: Any, key: str | None = None) -> list[Any]:
    """All-gather a JSON value over hosts (blocking); see `hosts.Hosts`.

    Args:
      content: The value of this host.
      key: Name of the message, the same on all hosts; by default its number.
    """
    key = key or str(next(self._numbers))
    self._send("tell", key, content)
    with self._changed:
      self._changed.wait_for(lambda: key in self._answers)
      return self._answers.pop(key)

  def part(self) -> None:
    """Wait for all hosts; after that, each may end on its own."""
    self.exchange(None, "part")

  def request_stop(self, signal_number: int) -> None:
    """Let all hosts stop at the same call of `should_stop`."""
    self._send("stop", signal_number)

  def should_stop(self) -> int:
    """Return a signal's number, or 0; all hosts get the same n-th answer.

    All hosts must call it equally often.
    """
    # Blocks until all hosts have sent their number of calls. Hosts that are
    # blocked in a collective send it too, because `_receive` runs in the loop.
    with self._changed:
      self._num_asked += 1
      if not self._signal:
        return 0
      self._changed.wait_for(lambda: self._last is not None)
      return self._signal if self._num_asked > self._last else 0

  def end(self, reason: str, code: int) -> None:
    """Send the others the reason to end; return when they have ended."""
    self._has_ended = True  # The others close their connections now.
    self._send("end", reason, code)
    self._alone.wait(2 * _LEAVE_SECS)

  def _forget_stop(self):
    self._num_asked, self._signal, self._last = 0, 0, None

  def _missing(self) -> list[int]:
    """Return the hosts that this one waits for and has no connection to."""
    others = [0] if self.index else range(1, self.count)
    return [host for host in others if host not in self._writers]

  async def _listen(self, port):
    family = socket.AF_INET6 if socket.has_dualstack_ipv6() else socket.AF_INET
    listener = socket.create_server(
      ("", port), family=family, dualstack_ipv6=family == socket.AF_INET6
    )
    self._server = await asyncio.start_server(
      self._greet, sock=listener, limit=_MAX_BYTES
    )

  async def _greet(self, reader, writer):
    try:
      line = await asyncio.wait_for(reader.readline(), _HELLO_SECS)
      hello, index, count = json.loads(line)
      if hello != _HELLO or self._is_ending or self._joined.is_set():
        raise ValueError
    except (OSError, ValueError, TypeError):
      writer.close()  # Not a host of this run.
      return
    if count != self.count or index not in self._missing():
      self._refused = (
        f"A host has started as process {index} of {count}, where"
        f" {name(self._missing())} of {self.count} had not started. Give each"
        " its own --process_id, and all the same --num_processes."
      )
      code = errors.UserError.exit_code
      _write(writer, ["end", 0, self._refused, code])
      return
    self._alone.clear()
    self._writers[index] = connections.watched(writer)
    if not self._missing():
      self._server.close()  # The hosts of the next run wait for its host 0.
      self._broadcast("joined")
    await self._read(index, reader)

  async def _reach(self, host, port):
    """Connect with host 0 as soon as it has started."""
    while True:
      try:
        reader, writer = await asyncio.wait_for(
          asyncio.open_connection(host, port, limit=_MAX_BYTES), _HELLO_SECS
        )
        # Without a listener, a local port may connect to itself.
        ends = (writer.get_extra_info(x) for x in ("sockname", "peername"))
        if len(set(ends)) == 2:
          break
        writer.close()
      except OSError as error:
        self._problem = errors.describe(error)
      await asyncio.sleep(_RETRY_SECS)
    self._alone.clear()
    self._writers[0] = connections.watched(writer)
    _write(writer, [_HELLO, self.index, self.count])
    await self._read(0, reader)

  async def _read(self, host, reader):
    """Handle the messages of a host until it ends."""
    handle = self._receive if self.index else self._gather
    try:
      while line := await reader.readline():
        handle(host, *json.loads(line))
    except (OSError, ValueError):  # A truncated line is not JSON.
      pass
    del self._writers[host]
    if self.index:
      self._alone.set()
    if not (self._has_parted or self._has_ended):
      handle(
        host,
        "end",
        *([0] if self.index else []),
        _LOST,
        errors.LostHostError.exit_code,
      )

  def _send(self, *message):
    def post():
      if self.index == 0:
        self._gather(0, *message)
      elif 0 in self._writers:
        _write(self._writers[0], message)

    self._loop.call_soon_threadsafe(post)

  def _broadcast(self, *message):
    for writer in self._writers.values():
      _write(writer, message)
    self._receive(0, *message)

  def _gather(self, host, kind, *content):
    """Handle a host's message on host 0; runs in the loop."""
    if kind == "tell":
      key, told = content
      by_host = self._told.setdefault(key, {})
      by_host[host] = told
      if len(by_host) == self.count:
        del self._told[key]
        self._broadcast("told", key, [by_host[h] for h in range(self.count)])
    elif kind == "stop":
      if not self._signal:
        self._broadcast("stop", *content)
    elif not self._is_ending:
      self._is_ending = True
      self._ending = self._loop.create_task(self._end_all(host, *content))

  async def _end_all(self, host, reason, code):
    for writer in self._writers.values():
      _write(writer, ["end", host, reason, code])
    until = self._loop.time() + _LEAVE_SECS
    while set(self._writers) - {host} and self._loop.time() < until:
      await asyncio.sleep(0.02)
    self._alone.set()
    self._receive(0, "end", host, reason, code)

  def _receive(self, sender, kind, *content):
    """Handle a message from host 0 on any host; runs in the loop."""
    del sender
    if kind == "end":
      host, reason, code = content
      if host != self.index:
        leave(f"Host {host} has ended: {reason}", code)
      return
    if kind == "joined":
      self._joined.set()
      return
    with self._changed:
      if kind == "stop":
        (self._signal,) = content
        self._send("tell", "stop", self._num_asked)
      else:
        key, told = content
        self._has_parted = key == "part"
        if key == "stop":
          self._last = max(told)
        else:
          self._answers[key] = told
        if key == "part":
          self._forget_stop()
      self._changed.notify_all()


_current: Links | None = None


def create(index: int, count: int) -> Links:
  """Make the links of this process, one of several."""
  global _current
  _current = Links(index, count)
  return _current


def current() -> Links | None:
  """Return the links of this process; None if it is the only one."""
  return _current


def name(hosts: Sequence[int]) -> str:
  """Return "host 1" or "hosts 1, 2"."""
  numbers = ", ".join(map(str, hosts))
  return f"host {numbers}" if len(hosts) == 1 else f"hosts {numbers}"


def _write(writer, message):
  writer.write((json.dumps(message) + "\n").encode())
