"""The page of a search: a query, its nearest pictures, a form for another."""

import base64
import dataclasses
from collections.abc import Sequence

import jinja2


@dataclasses.dataclass(frozen=True)
class Hit:
  """A picture on the page.

  Attributes:
    source: Address or data URI of the picture; "" of features.
    id: Its name.
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
  pictures: bool = True,
) -> str:
  """Returns the page as HTML.

  Args:
    num_bits: K.
    num_items: N.
    hits: Pictures that were found, or to choose from.
    query: What was looked for; None before a search.
    problem: What went wrong; "" if nothing.
    form: Whether the page is served, and can be asked again.
    upload: Whether pictures can be uploaded.
    pictures: Whether the items are pictures, and not features.
  """
  return _TEMPLATE.render(
    num_bits=num_bits,
    num_items=num_items,
    hits=hits,
    query=query,
    problem=problem,
    form=form,
    upload=upload,
    pictures=pictures,
  )


def data_uri(encoded: bytes, media_type: str) -> str:
  """Returns an address that holds the bytes of a picture file.

  Args:
    encoded: The bytes.
    media_type: Such as "image/png".
  """
  return f"data:{media_type};base64,{base64.b64encode(encoded).decode()}"
