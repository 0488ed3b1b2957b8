"""Limits of a server: memory, time, connections, hosts and origins."""

import contextlib
import ctypes
import ipaddress
import threading
import urllib.parse
from collections.abc import Collection, Iterator

from starlette import datastructures, responses, types
from uvicorn.protocols.http import h11_impl

from dsh_jax.data import images

MAX_CONNECTIONS = 400
REQUEST_SECS = 30.0  # Seconds to receive a request and send its answer.
_TRIMMED_BYTES = 2**26  # Freed memory from which the allocator returns it.


class BusyError(Exception):
  """All memory for decoding is taken."""


class Memory:
  """A limit on the memory for all pictures that are being decoded."""

  def __init__(self, num_bytes: int):
    """Allow `num_bytes`."""
    self._total = self._free = num_bytes
    self._changed = threading.Condition()

  @contextlib.contextmanager
  def take(self, num_bytes: int, wait_secs: float = 0) -> Iterator[None]:
    """Hold memory.

    Args:
      num_bytes: How much.
      wait_secs: Seconds to wait until others release theirs.

    Raises:
      UnreadableError: It is more than the limit.
      BusyError: Others hold too much.
    """
    if num_bytes > self._total:
      raise images.UnreadableError(
        f"decoding takes {num_bytes / 2**20:,.0f} MiB, at most"
        f" {self._total / 2**20:,.0f} are allowed; give fewer pixels or a JPEG"
        " that is not progressive"
      )
    with self._changed:
      if not self._changed.wait_for(lambda: num_bytes <= self._free, wait_secs):
        raise BusyError
      self._free -= num_bytes
    try:
      yield
    finally:
      if num_bytes > _TRIMMED_BYTES:
        _trim()
      with self._changed:
        self._free += num_bytes
        self._changed.notify_all()


def _trim() -> None:
  """Give freed memory back to the system, which glibc keeps for a thread."""
  with contextlib.suppress(OSError, AttributeError):  # Other C libraries.
    ctypes.CDLL(None).malloc_trim(0)


class Guard:
  """Refuses requests that foreign web pages make a browser send."""

  def __init__(self, app: types.ASGIApp, names: Collection[str]):
    """Guard an application.

    Args:
      app: The application.
      names: Allowed host names, lower case. Addresses are always allowed: a
        foreign page can point its own name at this server, but no address.
    """
    self._app = app
    self._names = names

  async def __call__(self, scope, receive, send) -> None:
    """Answer 400 or 403, or let the application answer."""
    if scope["type"] != "http":
      return await self._app(scope, receive, send)
    headers = datastructures.Headers(scope=scope)
    if not self._is_known(headers.get("host", "")):
      answer = responses.PlainTextResponse(
        "Unknown host name. Open the page by the address of the server.", 400
      )
    elif scope["method"] not in ("GET", "HEAD") and not _is_own(headers):
      answer = responses.PlainTextResponse(
        "Uploads from other web pages are refused.", 403
      )
    else:
      return await self._app(scope, receive, send)
    await answer(scope, receive, send)

  def _is_known(self, host: str) -> bool:
    try:
      name = urllib.parse.urlsplit(f"//{host}").hostname or ""
      return name in self._names or bool(ipaddress.ip_address(name))
    except ValueError:
      return False


def _is_own(headers: datastructures.Headers) -> bool:
  """Return whether a page of this server sent a request, or no page."""
  if site := headers.get("sec-fetch-site"):
    return site in ("same-origin", "none")
  origin = headers.get("origin")  # Older browsers, and plain http in a network.
  return origin is None or origin == f"http://{headers.get('host')}"


class Protocol(h11_impl.H11Protocol):
  """HTTP whose connections are closed when they are slow or too many."""

  def connection_made(self, transport) -> None:
    """Start the clock of the first request."""
    super().connection_made(transport)
    self._start_clock()
    if len(self.connections) > MAX_CONNECTIONS:
      transport.abort()

  def on_response_complete(self) -> None:
    """Start the clock of the next request."""
    self._clock.cancel()
    self._start_clock()
    super().on_response_complete()

  def connection_lost(self, exc: Exception | None) -> None:
    """Stop the clock."""
    self._clock.cancel()
    super().connection_lost(exc)

  def _start_clock(self):
    self._clock = self.loop.call_later(REQUEST_SECS, self.transport.abort)
