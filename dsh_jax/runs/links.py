"""A connection from every host to host 0, which shows at once who has ended.

JAX notices a lost host by a collective that fails or after 100 s without a
heartbeat, and aborts with a trace of C++. The system closes the connections of
a process however it ends; those to a machine that is lost, after `_LOST_SECS`.
"""

import asyncio
import contextlib
import functools
import itertools
import json
import os
import secrets
import socket
import sys
import threading
from typing import Any

# JAX's coordination service and its client have no public name; orbax uses the
# same.
from jax._src import distributed

from dsh_jax import errors

_KEY = "dsh_jax/links"  # In the store of the coordination service.
_MAX_BYTES = 1 << 26  # Of a message, a line of JSON.
_HELLO_SECS = 10  # For a connection to say who it is.
_LOST_SECS = 20  # Until a machine that does not answer counts as lost.
_LEAVE_SECS = 5  # For other hosts to end before the one that told them.
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
  """What hosts tell each other, by way of host 0.

  Attributes:
    index: Number of this host, from 0.
    count: Number of hosts, at least 2.
  """

  def __init__(self, index: int, count: int):
    """Connect all hosts; each does it once, when JAX's client is connected.

    Raises:
      UserError: Host 0 cannot be reached.
    """
    self.index, self.count = index, count
    self._loop = start_loop()
    self._writers: dict[int, asyncio.StreamWriter] = {}  # By host.
    self._connected, self._alone = threading.Event(), threading.Event()
    self._has_parted = self._is_ending = False
    self._changed = threading.Condition()
    self._numbers = itertools.count()
    self._told: dict[str, dict[int, Any]] = {}  # On host 0, by message.
    self._answers: dict[str, list[Any]] = {}
    self._forget_stop()
    connect = self._listen if index == 0 else self._join
    asyncio.run_coroutine_threadsafe(connect(), self._loop).result()
    self._connected.wait()

  def exchange(self, content: Any, key: str | None = None) -> list[Any]:
    """Return what all hosts tell, by number; waits until all have told.

    Args:
      content: What JSON can hold.
      key: Names the message, the same on all hosts; by default their number.
    """
    key = key or str(next(self._numbers))
    self._send("tell", key, content)
    with self._changed:
      self._changed.wait_for(lambda: key in self._answers)
      return self._answers.pop(key)

  def part(self) -> None:
    """Wait for all hosts; from then on each may end by itself."""
    self.exchange(None, "part")

  def request_stop(self, signal_number: int) -> None:
    """Let all hosts stop after the same step."""
    self._send("stop", signal_number)

  def should_stop(self, step: int) -> int:
    """Return the number of a signal, or 0, the same after a step on all hosts.

    Args:
      step: Steps taken; rising from call to call, all hosts ask after the same
        ones.
    """
    # A host that has told how far it is waits here until all have. Those which
    # wait for its part of a collective still tell, as `_receive` does that.
    with self._changed:
      self._step = step
      if not self._signal:
        return 0
      self._changed.wait_for(lambda: self._last_step is not None)
      return self._signal if step > self._last_step else 0

  def end(self, reason: str, code: int) -> None:
    """Tell the others why this host ends; returns when they have ended."""
    self._has_parted = True  # That they close their connections is expected.
    self._send("end", reason, code)
    self._alone.wait(2 * _LEAVE_SECS)

  def _forget_stop(self):
    self._step, self._signal, self._last_step = -1, 0, None

  async def _listen(self):
    token = secrets.token_hex(16)
    family = socket.AF_INET6 if socket.has_dualstack_ipv6() else socket.AF_INET
    listener = socket.create_server(
      ("", 0), family=family, dualstack_ipv6=family == socket.AF_INET6
    )

    async def greet(reader, writer):
      try:
        hello = json.loads(
          await asyncio.wait_for(reader.readline(), _HELLO_SECS)
        )
        if hello[0] != token:
          raise ValueError
      except (OSError, ValueError, TypeError, LookupError):
        writer.close()  # Whoever it is, it is not a host.
        return
      self._writers[hello[1]] = _watched(writer)
      if len(self._writers) == self.count - 1:
        self._connected.set()
      await self._read(hello[1], reader)

    self._server = await asyncio.start_server(
      greet, sock=listener, limit=_MAX_BYTES
    )
    _client().key_value_set(
      _KEY, json.dumps([token, listener.getsockname()[1]])
    )

  async def _join(self):
    token, port = json.loads(
      _client().blocking_key_value_get(_KEY, 1000 * _HELLO_SECS)
    )
    address = distributed.global_state.coordinator_address.rpartition(":")[0]
    try:
      reader, writer = await asyncio.open_connection(
        address.strip("[]"), port, limit=_MAX_BYTES
      )
    except OSError as error:
      raise errors.UserError(
        f"Cannot reach host 0 at {address}:{port}: {errors.describe(error)}."
        " Allow connections between hosts on all ports."
      ) from None
    self._writers[0] = _watched(writer)
    _write(writer, [token, self.index])
    self._reading = asyncio.create_task(self._read(0, reader))
    self._connected.set()

  async def _read(self, host, reader):
    """Handles what a host sends, until it ends."""
    handle = self._receive if self.index else self._gather
    try:
      while line := await reader.readline():
        handle(host, *json.loads(line))
    except (OSError, ValueError):  # A line cut off is not JSON.
      pass
    del self._writers[host]
    if self.index:
      self._alone.set()
    if not self._has_parted:
      handle(host, "end", *([0] if self.index else []), _LOST, errors.LOST_HOST)

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
    """Handles, on host 0, what a host sends; runs in the loop."""
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
    """Handles what host 0 sends to all, itself included; runs in the loop."""
    del sender
    if kind == "end":
      host, reason, code = content
      if host != self.index:
        leave(f"Host {host} has ended: {reason}", code)
      return
    with self._changed:
      if kind == "stop":
        (self._signal,) = content
        self._send("tell", "stop", self._step)
      else:
        key, told = content
        self._has_parted = key == "part"
        if key == "stop":
          self._last_step = max(told)
        else:
          self._answers[key] = told
        if key == "part":
          self._forget_stop()
      self._changed.notify_all()


@functools.cache
def connected() -> Links:
  """Return the links of this process, one of several that JAX has joined."""
  state = distributed.global_state
  return Links(state.process_id, state.num_processes)


def start_loop() -> asyncio.AbstractEventLoop:
  """Return a loop that runs in a thread until the process ends."""
  loop = asyncio.new_event_loop()
  threading.Thread(target=loop.run_forever, daemon=True).start()
  return loop


def _client():
  return distributed.global_state.client


def _write(writer, message):
  writer.write((json.dumps(message) + "\n").encode())


def _watched(writer: asyncio.StreamWriter) -> asyncio.StreamWriter:
  """Return the writer of a connection that breaks if the other is lost."""
  link = writer.get_extra_info("socket")
  link.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
  for name, value in (  # Of Linux; other systems have some of them.
    ("TCP_KEEPIDLE", _LOST_SECS // 4),
    ("TCP_KEEPINTVL", _LOST_SECS // 4),
    ("TCP_KEEPCNT", 3),
    ("TCP_USER_TIMEOUT", 1000 * _LOST_SECS),
  ):
    if hasattr(socket, name):
      link.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
  return writer
