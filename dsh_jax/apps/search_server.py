"""Answers the requests of the search page."""

import functools
import urllib.parse
from collections.abc import Collection

import numpy as np
from starlette import (
  applications,
  concurrency,
  exceptions,
  requests,
  responses,
  routing,
)
from starlette.middleware import Middleware

from dsh_jax import errors
from dsh_jax.apps import index as index_lib
from dsh_jax.apps import limits, search_page
from dsh_jax.apps import pictures as pictures_lib
from dsh_jax.apps import uploads as uploads_lib
from dsh_jax.retrieval import ties
from dsh_jax.runs import trained

_DECODING_BYTES = 512 * 2**20  # Memory for decoding, all pictures together.
_WAIT_SECS = 10.0  # Seconds to wait for that memory, for pictures of the index.
_FOUND = 24  # Items on a page.
_KEPT = 1000  # Small images held in memory.
_DEEPEST = 10_000  # Last rank that is shown.
_HEADERS = {
  "X-Content-Type-Options": "nosniff",
  "Referrer-Policy": "same-origin",
  "Cross-Origin-Resource-Policy": "same-origin",
  "X-Frame-Options": "DENY",
}


class Server:
  """Answer the requests of the page."""

  def __init__(
    self,
    index: index_lib.Index,
    pictures: pictures_lib.Pictures,
    encoder: trained.TrainedRun | None,
    problem: str = "",
  ):
    """Answer searches of an index.

    Args:
      index: The index to search.
      pictures: Its pictures.
      encoder: Encoder of uploaded images; None refuses uploads.
      problem: Shown on the first page, such as why there is no encoder.
    """
    self._index = index
    self._pictures = pictures
    self._problem = problem
    self._memory = limits.Memory(_DECODING_BYTES)
    self._uploads = None
    if encoder:
      self._uploads = uploads_lib.Uploads(encoder, self._memory)
    self._small = functools.lru_cache(_KEPT)(
      functools.partial(self._read, max_side=pictures_lib.SMALL)
    )

  def start(self, request: requests.Request) -> responses.Response:
    """Return the first page: forms, and items to choose from."""
    del request
    count = min(_FOUND, len(self._index))
    rows = [place * len(self._index) // count for place in range(count)]
    hits = [self._hit(row) for row in rows]
    return self._page(hits=hits, problem=self._problem)

  def similar(self, request: requests.Request) -> responses.Response:
    """Return the neighbours of an item of the index, or 404."""
    row = self._row(request)
    hit = self._hit(row, size="large")
    return self._neighbours(
      self._index.query_of(row), hit, f"/similar/{row}", self._first(request)
    )

  def code(self, request: requests.Request) -> responses.Response:
    """Return the neighbours of a code, given as hexadecimal words, or 404.

    Its outputs may follow, as hexadecimal digits of float16.
    """
    query = self._parse(
      request.path_params["code"], request.query_params.get("outputs", "")
    )
    if query is None:
      raise exceptions.HTTPException(404, "There is no such code.")
    hit = search_page.Hit("", f"code {request.path_params['code']}")
    return self._neighbours(query, hit, _address(query), self._first(request))

  def find(self, request: requests.Request) -> responses.Response:
    """Return the items with a name and a label.

    If the name is an item's id, show its neighbours instead.
    """
    name = request.query_params.get("name", "").strip()
    label = request.query_params.get("label", "").strip()
    if not (name or label):
      return responses.RedirectResponse("/", 303, headers=_HEADERS)
    if not label and (row := self._index.row_of(name)) is not None:
      return responses.RedirectResponse(
        f"/similar/{row}", 303, headers=_HEADERS
      )
    rows, first = self._index.find(name, label), self._first(request)
    given = [f"{name!r} in the name"] if name else []
    given += [f"the label {label!r}"] if label else []
    address = f"/find?{urllib.parse.urlencode({'name': name, 'label': label})}"
    names = self._index.class_names
    near = errors.close_names(label, names) if not len(rows) else []
    page = self._page(
      problem=f"Labels of similar names: {', '.join(near)}." if near else "",
      hits=[self._hit(int(row)) for row in rows[first : first + _FOUND]],
      title=f"{len(rows):,} with {' and '.join(given)}"[:400],
      place=_place(address, first, len(rows)),
    )
    page.status_code = 200 if len(rows) else 404
    return page

  def picture(self, request: requests.Request) -> responses.Response:
    """Return a small image of the index, or 404 if it cannot be read."""
    return self._send(lambda: self._small(self._row(request)))

  def large(self, request: requests.Request) -> responses.Response:
    """Return a large image of the index, or 404 if it cannot be read."""
    return self._send(
      lambda: self._read(self._row(request), pictures_lib.LARGE)
    )

  async def search(self, request: requests.Request) -> responses.Response:
    """Return the neighbours of an uploaded image; see `Uploads.receive`.

    Raises:
      HTTPException: 503 without an encoder.
    """
    if self._uploads is None:
      raise exceptions.HTTPException(503, "Images cannot be uploaded.")
    query, hit = await self._uploads.receive(request)
    if self._index.outputs is None:
      query = query._replace(outputs=None)
    else:  # As in the addresses of further pages.
      query = query._replace(outputs=ties.round_outputs(query.outputs))
    return await concurrency.run_in_threadpool(
      self._neighbours, query, hit, _address(query), 0
    )

  def failed(
    self, request: requests.Request, error: Exception
  ) -> responses.Response:
    """Return a page with the message of an HTTPException."""
    del request
    page = self._page(hits=[], problem=error.detail)
    page.status_code = error.status_code
    page.headers.update(error.headers or {})
    return page

  def busy(
    self, request: requests.Request, error: Exception
  ) -> responses.Response:
    """Return a page for a BusyError."""
    text = "The server is busy. Try again in a few seconds."
    headers = {"Retry-After": "3"}
    return self.failed(request, exceptions.HTTPException(503, text, headers))

  def left(
    self, request: requests.Request, error: Exception
  ) -> responses.Response:
    """Answer a client that has disconnected."""
    del request, error
    return responses.Response(status_code=400)  # Nobody reads the answer.

  def _parse(self, name, outputs) -> index_lib.Query | None:
    """Return the query of an address that `_address` made, or None."""
    index = self._index
    words, bits = index.codes.shape[1], index.num_bits
    try:
      code = np.frombuffer(bytes.fromhex(name), ">u4").astype(np.uint32)
      query = index_lib.Query(code)
      if outputs:
        floats = np.frombuffer(bytes.fromhex(outputs), ">f2")
        query = index_lib.Query(code, floats.astype(np.float16))
    except ValueError:
      return None
    known = code.shape == (words,) and _name(code) == name
    known = known and int(code[-1]) >> (bits - 32 * (words - 1)) == 0
    if outputs:
      known = known and floats.shape == (bits,) and np.isfinite(floats).all()
    return query if known else None

  def _neighbours(self, query, hit, address, first):
    index = self._index
    found = index.nearest(query, first + _FOUND)
    num_tied = index.num_tied(query, found)
    hits = [self._hit(row, distance, hit) for distance, row in found[first:]]
    place = _place(address, first, len(index), num_tied)
    return self._page(hits=hits, query=hit, place=place)

  def _row(self, request) -> int:
    return _number(request.path_params["row"], len(self._index), "item")

  def _first(self, request) -> int:
    """Return the first rank to show, from 0."""
    end = min(len(self._index), _DEEPEST)
    return _number(request.query_params.get("first", "0"), end, "page")

  def _hit(self, row, distance=None, query=None, size="picture"):
    index, labels = self._index, self._index.labels_of(row)
    shared = len({*labels} & {*query.labels}) if query else 0
    return search_page.Hit(
      source=f"/{size}/{row}" if index.has_pictures else "",
      id=str(index.ids[row]),
      link=f"/similar/{row}",
      distance=distance,
      labels=labels,
      shared=shared if query and query.labels else None,
    )

  def _read(self, row, max_side):
    reserve = functools.partial(self._memory.take, wait_secs=_WAIT_SECS)
    return self._pictures.get(row, max_side, reserve)

  def _send(self, read) -> responses.Response:
    try:
      content, media_type = read()
    except errors.UserError:
      raise exceptions.HTTPException(
        404, "The picture of this item cannot be read."
      ) from None
    headers = _HEADERS | {"Cache-Control": "private, max-age=600"}
    return responses.Response(content, media_type=media_type, headers=headers)

  def _page(self, **content) -> responses.Response:
    html = search_page.render(
      self._index,
      pixelated=not self._pictures.are_files,
      server=True,
      upload=self._uploads is not None,
      **content,
    )
    return responses.HTMLResponse(html, headers=_HEADERS)


def _number(text: str, end: int, what: str) -> int:
  """Return the number of a URL, 0 to end - 1, or raise 404."""
  if text.isascii() and text.isdecimal() and len(text) < 19:
    if int(text) < end:
      return int(text)
  raise exceptions.HTTPException(404, f"There is no such {what}.")


def _name(code: np.ndarray) -> str:
  return code.astype(">u4").tobytes().hex()


def _address(query: index_lib.Query) -> str:
  """Return the address of the neighbours of a query."""
  address = f"/code/{_name(query.code)}"
  if query.outputs is None:
    return address
  return f"{address}?outputs={query.outputs.astype('>f2').tobytes().hex()}"


def _place(address, first, total, ties=0) -> search_page.Place:
  """Return the position of a page of hits, and its neighbours' addresses."""
  mark = "&" if "?" in address else "?"
  before, after = max(0, first - _FOUND), first + _FOUND
  return search_page.Place(
    first,
    total,
    ties,
    f"{address}{mark}first={before}" if first else "",
    f"{address}{mark}first={after}" if after < min(total, _DEEPEST) else "",
  )


def create_app(
  server: Server, names: Collection[str] = ("localhost",)
) -> applications.Starlette:
  """Return the web application.

  Args:
    server: The server that answers.
    names: Allowed host names; see `limits.Guard`.
  """
  return applications.Starlette(
    routes=[
      routing.Route("/", server.start),
      routing.Route("/similar/{row}", server.similar),
      routing.Route("/code/{code}", server.code),
      routing.Route("/find", server.find),
      routing.Route("/picture/{row}", server.picture),
      routing.Route("/large/{row}", server.large),
      routing.Route("/search", server.search, methods=["POST"]),
    ],
    middleware=[Middleware(limits.Guard, names=names)],
    exception_handlers={
      exceptions.HTTPException: server.failed,
      limits.BusyError: server.busy,
      requests.ClientDisconnect: server.left,
    },
  )
