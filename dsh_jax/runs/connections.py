"""Connections between hosts, handled in a thread beside the run."""

import asyncio
import socket
import threading

LOST_SECS = 20  # Until a machine that does not answer counts as lost.


def start_loop() -> asyncio.AbstractEventLoop:
  """Return a loop that runs in a thread until the process ends."""
  loop = asyncio.new_event_loop()
  threading.Thread(target=loop.run_forever, daemon=True).start()
  return loop


def watched(writer: asyncio.StreamWriter) -> asyncio.StreamWriter:
  """Return the writer of a connection that breaks if the other is lost."""
  link = writer.get_extra_info("socket")
  link.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
  for name, value in (  # Of Linux; other systems have some of them.
    ("TCP_KEEPIDLE", LOST_SECS // 4),
    ("TCP_KEEPINTVL", LOST_SECS // 4),
    ("TCP_KEEPCNT", 3),
    ("TCP_USER_TIMEOUT", 1000 * LOST_SECS),
  ):
    if hasattr(socket, name):
      link.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
  return writer
