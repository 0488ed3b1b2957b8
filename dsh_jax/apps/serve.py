"""Serves a page on this machine to search an index with a browser."""

import ipaddress
import logging
import socket
import sys
from collections.abc import Sequence

import numpy as np

from dsh_jax import errors
from dsh_jax.apps import commands
from dsh_jax.apps import index as index_lib
from dsh_jax.apps import pictures as pictures_lib

try:
  import starlette  # noqa: F401
  import uvicorn
except ImportError:
  uvicorn = None
else:
  from dsh_jax.apps import limits, search_server


def _family(host: str) -> socket.AddressFamily:
  try:
    version = ipaddress.ip_address(host).version
  except ValueError:
    raise errors.UserError(
      f"--host is {host!r}; it must be an address, such as 127.0.0.1."
    ) from None
  return socket.AF_INET if version == 4 else socket.AF_INET6


def _bind(host: str, port: int) -> socket.socket:
  bound = socket.socket(_family(host))
  bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
  try:
    bound.bind((host, port))
    bound.listen()  # Requests may arrive before the server is up.
  except (OSError, OverflowError) as error:
    bound.close()
    raise errors.UserError(
      f"Cannot listen on port {port} of {host}: {error}. Change --port, or 0"
      " for any that is free."
    ) from None
  return bound


def main(argv: Sequence[str]) -> None:
  """Serve until interrupted."""
  given = commands.parse("serve", argv)
  if uvicorn is None:
    raise errors.UserError(
      'The page needs Starlette and uvicorn: pip install "dsh_jax[serve]", or'
      ' in a clone pip install -e ".[serve]".'
    )
  index = index_lib.load(given.index, given.workdir)
  listening = _bind(given.host, given.port)
  pictures = pictures_lib.Pictures(index, given.images)
  encoder, problem = None, ""
  try:
    if index.has_pictures:
      encoder = index_lib.load_encoder(index)
      # Compile now, so that the first search does not wait for it.
      size = encoder.image_size
      encoder.encode(np.zeros((size, size, 3), np.uint8))
  except errors.Error as error:
    # The page is for people who need not know the folders of this machine.
    problem = "Images cannot be uploaded, because the run cannot be read."
    print(
      f"Images cannot be uploaded: {errors.printable(str(error))}",
      file=sys.stderr,
    )
  if missing := pictures.problem():
    problem = f"{problem} Some pictures cannot be found.".strip()
    print(errors.printable(missing), file=sys.stderr)
  server = search_server.Server(index, pictures, encoder, problem)
  app = search_server.create_app(
    server, ("localhost", socket.gethostname().lower())
  )
  for line in _where(listening):
    print(line, flush=True)
  uvicorn.Server(make_config(app)).run(sockets=[listening])


def make_config(app: "search_server.applications.Starlette"):
  """Return how uvicorn runs the application."""
  # It warns about every upload not sent by a browser.
  logging.getLogger("python_multipart").setLevel(logging.ERROR)
  return uvicorn.Config(
    app,
    http=limits.Protocol,
    ws="none",
    lifespan="off",
    log_config=None,
    log_level="error",
    timeout_graceful_shutdown=5,
  )


def _where(listening: socket.socket) -> list[str]:
  """Return lines with the page's address and who can see it."""
  host, port = listening.getsockname()[:2]
  address = ipaddress.ip_address(host)
  if address.is_unspecified:
    host = "127.0.0.1" if address.version == 4 else "::1"
  shown = f"[{host}]" if ":" in host else host
  lines = [f"Open http://{shown}:{port} (Ctrl-C ends it)."]
  if address.is_unspecified:
    lines.append(f"Other machines open http://ADDRESS_OF_THIS_MACHINE:{port}.")
  if not address.is_loopback:
    lines.append(
      "Everyone who can reach this machine can search and see the pictures."
    )
  return lines
