"""Connections between hosts, handled in a separate thread."""

import asyncio
import socket
import threading

LOST_SECS = 20  # Seconds without an answer after which a machine is lost.


def start_loop() -> asyncio.AbstractEventLoop:
  """Return a loop that runs in a thread until the process ends."""
  loop = asyncio.new_event_loop()
  threading.Thread(target=loop.run_forever, daemon=True).start()
  return loop


def watched(writer: asyncio.StreamWriter) -> asyncio.StreamWriter:
  """Return a writer whose connection breaks if the other side is lost."""
  link = writer.get_extra_info("socket")
  link.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
  for name, value in (  # Linux has all, other systems some.
    ("TCP_KEEPIDLE", LOST_SECS // 4),
    ("TCP_KEEPINTVL", LOST_SECS // 4),
    ("TCP_KEEPCNT", 3),
    ("TCP_USER_TIMEOUT", 1000 * LOST_SECS),
  ):
    if hasattr(socket, name):
      link.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
  return writer
