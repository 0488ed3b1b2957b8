"""Serves a page on this machine to search an index with a browser.

  python -m dsh_jax serve --index=codes.npz

Needs pip install "dsh_jax[serve]". It listens on this machine only, shows only
images of the index, and stores no uploads.
"""

import functools
import ipaddress
import socket
import threading
from collections.abc import Sequence

import numpy as np
from absl import flags

from dsh_jax import errors
from dsh_jax.apps import command, image_files, search_page
from dsh_jax.apps import index as index_lib
from dsh_jax.data import images

try:
  import uvicorn
  from starlette import (
    applications,
    concurrency,
    exceptions,
    requests,
    responses,
    routing,
  )
  from starlette.middleware import Middleware, trustedhost
except ImportError:
  uvicorn = None

MAX_UPLOAD_BYTES = 20 * 2**20
_FOUND = 24  # Neighbours on a page.
_PICKED = 24  # Images to choose from.
_KEPT = 1000  # Small images held in memory.
_HEADERS = {
  "X-Content-Type-Options": "nosniff",
  "Referrer-Policy": "no-referrer",
  "X-Frame-Options": "DENY",
}


class Server:
  """Answers the requests of the page."""

  def __init__(
    self,
    index: index_lib.Index,
    encoder: image_files.RunEncoder | None,
    without_upload: str = "",
  ):
    """Answer searches of an index.

    Args:
      index: The index to search.
      encoder: Encoder of uploaded images; None refuses uploads.
      without_upload: Why there is no encoder; "" if there is one.
    """
    self._index = index
    self._encoder = encoder
    self._without_upload = without_upload
    self._encoding = threading.Lock()  # One image on the device at a time.
    self._picture = functools.lru_cache(_KEPT)(index.picture)

  def start(self, request: "requests.Request") -> "responses.Response":
    """Return the first page: a form, and images to choose from."""
    del request
    count = min(_PICKED, len(self._index))
    rows = [place * len(self._index) // count for place in range(count)]
    hits = [self._hit(row) for row in rows]
    return self._page(hits=hits, problem=self._without_upload)

  def similar(self, request: "requests.Request") -> "responses.Response":
    """Return the neighbours of an image of the index, or 404."""
    row = self._row(request)
    found = self._index.nearest(self._index.codes[row], _FOUND)
    hits = [self._hit(near, distance) for distance, near in found]
    return self._page(hits=hits, query=self._hit(row))

  def picture(self, request: "requests.Request") -> "responses.Response":
    """Return an image of the index, or 404 if it cannot be read."""
    try:
      content, media_type = self._picture(self._row(request))
    except errors.UserError as error:
      raise exceptions.HTTPException(404, str(error)) from error
    headers = _HEADERS | {"Cache-Control": "private, max-age=600"}
    return responses.Response(content, media_type=media_type, headers=headers)

  async def search(self, request: "requests.Request") -> "responses.Response":
    """Return the neighbours of an uploaded image.

    Raises:
      HTTPException: 503 without an encoder, 411 or 413 for an upload of unknown
        size or above `MAX_UPLOAD_BYTES`, 400 or 415 if it is not an image.
    """
    if self._encoder is None:
      raise exceptions.HTTPException(503, self._without_upload)
    length = request.headers.get("content-length", "")
    if not length.isdecimal():
      raise exceptions.HTTPException(411, "The upload has no Content-Length.")
    if int(length) > MAX_UPLOAD_BYTES:
      raise exceptions.HTTPException(
        413,
        f"The upload has {int(length):,} bytes; at most"
        f" {MAX_UPLOAD_BYTES:,} are allowed.",
      )
    async with request.form(max_files=1, max_fields=1) as form:
      file = form.get("picture")
      if not hasattr(file, "read"):
        raise exceptions.HTTPException(400, "No image was uploaded.")
      name, content = file.filename or "picture", await file.read()
    try:
      query, found = await concurrency.run_in_threadpool(
        self._look_for, name, content
      )
    except images.UnreadableError as error:
      raise exceptions.HTTPException(
        415,
        f"{name} is not an image that can be read"
        f" ({', '.join(images.FORMATS)}): {error}.",
      ) from error
    hits = [self._hit(near, distance) for distance, near in found]
    return self._page(hits=hits, query=query)

  def failed(
    self, request: "requests.Request", error: Exception
  ) -> "responses.Response":
    """Return a page with the message of an HTTPException."""
    del request
    page = self._page(hits=[], problem=error.detail)
    page.status_code = error.status_code
    return page

  def _look_for(self, name, content):
    encoder = self._encoder
    pixels = images.decode(content, encoder.size, encoder.resize)
    with self._encoding:
      code = encoder([pixels])[0]
    shown = search_page.data_uri(*image_files.thumbnail(pixels))
    return search_page.Hit(shown, name), self._index.nearest(code, _FOUND)

  def _row(self, request) -> int:
    row = request.path_params["row"]
    if row >= len(self._index):
      raise exceptions.HTTPException(404, f"There is no image {row}.")
    return row

  def _hit(self, row: int, distance: int | None = None) -> search_page.Hit:
    return search_page.Hit(
      source=f"/picture/{row}",
      id=str(self._index.ids[row]),
      link=f"/similar/{row}",
      distance=distance,
    )

  def _page(self, **content) -> "responses.Response":
    html = search_page.render(
      num_bits=self._index.num_bits,
      num_items=len(self._index),
      form=True,
      upload=self._encoder is not None,
      **content,
    )
    return responses.HTMLResponse(html, headers=_HEADERS)


def create_app(
  server: Server, hosts: Sequence[str] = ("127.0.0.1", "localhost")
) -> "applications.Starlette":
  """Return the web application.

  Args:
    server: The server that answers.
    hosts: Allowed host names. Others are refused, so that a foreign web page
      cannot point its own name at this server.
  """
  return applications.Starlette(
    routes=[
      routing.Route("/", server.start),
      routing.Route("/similar/{row:int}", server.similar),
      routing.Route("/picture/{row:int}", server.picture),
      routing.Route("/search", server.search, methods=["POST"]),
    ],
    middleware=[
      Middleware(trustedhost.TrustedHostMiddleware, allowed_hosts=list(hosts))
    ],
    exception_handlers={exceptions.HTTPException: server.failed},
  )


def _bind(host: str, port: int) -> socket.socket:
  try:
    family = ipaddress.ip_address(host).version
  except ValueError:
    raise errors.UserError(
      f"--host is {host!r}; it must be an address, such as 127.0.0.1."
    ) from None
  bound = socket.socket(socket.AF_INET if family == 4 else socket.AF_INET6)
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


def _define_flags(values: flags.FlagValues) -> None:
  def text(name, default, meaning, **more):
    flags.DEFINE_string(name, default, meaning, flag_values=values, **more)

  text("index", None, "The codes.npz to search.", required=True)
  text("workdir", "", "The run that encoded the index, if it has been moved.")
  flags.DEFINE_integer(
    "port", 8000, "Port to listen on; 0 for any.", flag_values=values
  )
  text(
    "host",
    "127.0.0.1",
    "Address to listen on; 127.0.0.1 is visible to this machine only.",
  )


def main(argv: Sequence[str]) -> None:
  """Serve until interrupted."""
  given = command.parse(argv, _define_flags, __doc__)
  if uvicorn is None:
    raise errors.UserError(
      'The page needs Starlette and uvicorn: pip install "dsh_jax[serve]", or'
      ' in a clone pip install -e ".[serve]".'
    )
  index = index_lib.load(given.index, given.workdir)
  try:
    encoder, why = index_lib.load_encoder(index), ""
    # Compile now, so that the first search does not wait for it.
    encoder([np.zeros((encoder.size, encoder.size, 3), np.uint8)])
  except errors.UserError as error:
    encoder, why = None, f"Images cannot be uploaded: {error}"
  listening = _bind(given.host, given.port)
  host, port = listening.getsockname()[:2]
  hosts = ("127.0.0.1", "localhost", host)
  app = create_app(Server(index, encoder, why), hosts)
  print(f"Open http://{host}:{port} (Ctrl-C ends it).", flush=True)
  config = uvicorn.Config(app, log_level="warning")
  uvicorn.Server(config).run(sockets=[listening])


def run() -> None:
  """Run the command and exit."""
  command.run(main)


if __name__ == "__main__":
  run()
