"""The search page: a query, its nearest images, and an upload form."""

import base64
import dataclasses
from collections.abc import Sequence

import jinja2

from dsh_jax.apps import index as index_lib


@dataclasses.dataclass(frozen=True)
class Hit:
  """An item on the page.

  Attributes:
    source: Address or data URI of its picture; "" for features.
    id: Its id.
    link: Address of its neighbours; "" for none.
    distance: Hamming distance to the query; None before a search.
    labels: Names of its labels.
    shared: Number of labels shared with the query; None if it is unknown.
  """

  source: str
  id: str
  link: str = ""
  distance: int | None = None
  labels: tuple[str, ...] = ()
  shared: int | None = None


@dataclasses.dataclass(frozen=True)
class Place:
  """Position of a page's hits among all.

  Attributes:
    first: Rank of the first, from 0.
    total: Number of items that could be shown.
    ties: Items at the last distance of the page that come after it.
    previous: Address of the page before; "" for none.
    next: Address of the page after; "" for none.
  """

  first: int
  total: int
  ties: int = 0
  previous: str = ""
  next: str = ""


_TEMPLATE = jinja2.Environment(
  loader=jinja2.PackageLoader("dsh_jax.apps", "."),
  autoescape=True,
  undefined=jinja2.StrictUndefined,
  trim_blocks=True,
  lstrip_blocks=True,
).get_template("search.html")


def render(
  index: index_lib.Index,
  hits: Sequence[Hit],
  *,
  pixelated: bool,
  title: str = "",
  query: Hit | None = None,
  place: Place | None = None,
  problem: str = "",
  server: bool = False,
  upload: bool = False,
) -> str:
  """Return the page as HTML.

  Args:
    index: What is searched.
    hits: Results, or items to choose from.
    pixelated: Whether to enlarge pictures without smoothing.
    title: What the hits are, without a query.
    query: The query; None before a search.
    place: Position of the hits among all; None shows no links to others.
    problem: An error message, or "".
    server: Whether a server answers further searches.
    upload: Whether images can be uploaded.
  """
  return _TEMPLATE.render(**locals())


def data_uri(encoded: bytes, media_type: str) -> str:
  """Return a data URI of bytes of a media type, such as "image/png"."""
  return f"data:{media_type};base64,{base64.b64encode(encoded).decode()}"
