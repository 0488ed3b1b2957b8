"""The search page: a query, its nearest images, and an upload form."""

import base64
import dataclasses
from collections.abc import Sequence

import jinja2


@dataclasses.dataclass(frozen=True)
class Hit:
  """An image on the page.

  Attributes:
    source: Address or data URI of the image.
    id: Its id.
    link: Address of its own neighbours; "" for none.
    distance: Hamming distance to the query; None before a search.
  """

  source: str
  id: str
  link: str = ""
  distance: int | None = None


_TEMPLATE = jinja2.Environment(
  loader=jinja2.PackageLoader("dsh_jax.apps", "."),
  autoescape=True,
  undefined=jinja2.StrictUndefined,
  trim_blocks=True,
  lstrip_blocks=True,
).get_template("search.html")


def render(
  *,
  num_bits: int,
  num_items: int,
  hits: Sequence[Hit],
  query: Hit | None = None,
  problem: str = "",
  form: bool = False,
  upload: bool = False,
) -> str:
  """Return the page as HTML.

  Args:
    num_bits: K.
    num_items: N.
    hits: Results, or images to choose from.
    query: The query; None before a search.
    problem: An error message, or "".
    form: Whether a server answers further searches.
    upload: Whether images can be uploaded.
  """
  return _TEMPLATE.render(
    num_bits=num_bits,
    num_items=num_items,
    hits=hits,
    query=query,
    problem=problem,
    form=form,
    upload=upload,
  )


def data_uri(encoded: bytes, media_type: str) -> str:
  """Return a data URI of bytes of a media type, such as "image/png"."""
  return f"data:{media_type};base64,{base64.b64encode(encoded).decode()}"
