"""Receives uploaded images and encodes them."""

import asyncio
import threading
from concurrent import futures

from starlette import exceptions, formparsers, requests, types

from dsh_jax.apps import image_files, limits, search_page
from dsh_jax.apps import index as index_lib
from dsh_jax.apps import pictures as pictures_lib
from dsh_jax.data import images
from dsh_jax.runs import trained

MAX_BYTES = 20 * 2**20
_MAX_ARRIVING = 64
_MAX_WAITING = 16  # Images waiting to be encoded.
_NUM_THREADS = 2
_SHOWN_PIXELS = 25_000_000  # Above, the network's input is shown instead.
_NAME_LETTERS = 200  # Characters of a file name that are shown.


class Uploads:
  """Images that are searched for once and not stored."""

  def __init__(self, encoder: trained.TrainedRun, memory: limits.Memory):
    """Encode with `encoder`, decode within `memory`."""
    self._encoder = encoder
    self._memory = memory
    self._encoding = threading.Lock()  # One image on the device at a time.
    # Separate threads: those of the server answer searches, and each thread
    # that decodes keeps some memory.
    self._threads = futures.ThreadPoolExecutor(_NUM_THREADS)
    self._num_arriving = self._num_waiting = 0

  async def receive(
    self, request: requests.Request
  ) -> tuple[index_lib.Query, search_page.Hit]:
    """Return the query for the image of a request, and how to show it.

    Raises:
      HTTPException: 411 or 413 for an upload of unknown size or above
        `MAX_BYTES`, 400 or 415 if it is not an image.
      BusyError: Too many uploads are waiting.
      ClientDisconnect: The client has disconnected.
    """
    length = request.headers.get("content-length", "")
    # A body in chunks may have any length, whatever Content-Length says.
    chunked = "transfer-encoding" in request.headers
    known = length.isascii() and length.isdecimal() and len(length) < 19
    if chunked or not known:
      raise exceptions.HTTPException(411, "The upload has no known length.")
    if int(length) > MAX_BYTES:
      raise exceptions.HTTPException(
        413,
        f"The upload has {int(length):,} bytes; at most {MAX_BYTES:,} are"
        " allowed.",
      )
    kind = request.headers.get("content-type", "")
    if not kind.lower().startswith("multipart/form-data"):
      raise exceptions.HTTPException(400, "No image was uploaded.")
    if self._num_arriving >= _MAX_ARRIVING:
      raise limits.BusyError
    self._num_arriving += 1
    request = requests.Request(
      request.scope, _at_most(request.receive, int(length))
    )
    try:
      async with request.form(max_files=1, max_fields=1) as form:
        return await self._encode_form(form)
    finally:
      self._num_arriving -= 1

  async def _encode_form(self, form):
    picture = form.get("picture")
    if not hasattr(picture, "file"):
      raise exceptions.HTTPException(400, "No image was uploaded.")
    name = (picture.filename or "picture")[:_NAME_LETTERS]
    if self._num_waiting >= _MAX_WAITING:
      raise limits.BusyError
    self._num_waiting += 1
    try:
      query, shown = await asyncio.get_running_loop().run_in_executor(
        self._threads, self._encode, picture.file
      )
    except images.UnreadableError as error:
      raise exceptions.HTTPException(
        415,
        f"{name} is not an image that can be read"
        f" ({', '.join(images.FORMATS)}): {error}.",
      ) from error
    finally:
      self._num_waiting -= 1
    return query, search_page.Hit(shown, name)

  def _encode(self, file):
    encoder, reserve = self._encoder, self._memory.take
    size, resize = encoder.image_size, encoder.config.data.resize
    shown = pixels = images.decode(file, size, resize, reserve)
    if images.num_pixels(file) <= _SHOWN_PIXELS:
      shown = images.decode_whole(file, 2 * pictures_lib.SMALL, reserve)
    with self._encoding:
      query = index_lib.encode(encoder, pixels)
    return query, search_page.data_uri(*image_files.thumbnail(shown))


def _at_most(receive: types.Receive, num_bytes: int) -> types.Receive:
  """Return what receives a body, and refuses one of more bytes."""

  async def counted():
    nonlocal num_bytes
    message = await receive()
    num_bytes -= len(message.get("body", b""))
    if num_bytes < 0:
      raise formparsers.MultiPartException(
        "The upload is longer than its Content-Length."
      )
    return message

  return counted
