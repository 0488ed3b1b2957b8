"""Images of queries and of their nearest database items."""

import base64
import dataclasses
import io
from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image

from dsh_jax import data, errors
from dsh_jax.config import factories, fields
from dsh_jax.report.run_files import RunFiles
from dsh_jax.retrieval import evaluation, metrics, neighbors

METRIC = "ndcg@100"
_TOP = 10
_PER_GROUP = 3
_MAX_SIDE = 128  # Pixels on the page; larger images are scaled down.
# Border colours for 0, 1, 2, 3 or more shared labels.
_EDGES = ("#a3a5ab", "#7fb2e5", "#3f7fc4", "#1f4f96")
_INK = "#1b1d22"  # Border of the query.


@dataclasses.dataclass(frozen=True, eq=False)
class Tile:
  """An image of the gallery.

  Attributes:
    image: uint8 [H,W,3].
    id: Id in the data set.
    labels: Names of its labels.
    distance: Hamming distance to the query; 0 for the query itself.
    shared: Number of labels shared with the query; 0 for the query itself.
  """

  image: np.ndarray
  id: str
  labels: tuple[str, ...]
  distance: int = 0
  shared: int = 0

  @property
  def source(self) -> str:
    """The image as a data URI."""
    return data_uri(self.image)


@dataclasses.dataclass(frozen=True)
class Row:
  """A query and its nearest database items.

  Attributes:
    query: The query.
    score: Its score by `METRIC`.
    found: Database items, nearest first.
  """

  query: Tile
  score: float
  found: tuple[Tile, ...]


def load_splits(run: RunFiles) -> data.Splits:
  """Return the splits of a run, which must be those it was scored on."""
  config = fields.unflatten(run.config)
  splits = factories.load_splits(config)
  for name in ("query", "database"):
    if splits.sha256[name] != run.result["split_sha256"][name]:
      raise errors.UserError(
        f"The {name} split of {config.data.name} is not the one of the run."
      )
  return splits


def create(run: RunFiles, splits: data.Splits) -> dict[str, list[Row]]:
  """Choose queries and find their neighbours.

  Args:
    run: The run.
    splits: From `load_splits`.

  Returns:
    "Best", "Median" and "Worst" -> at most three rows each, without queries
    that have no relevant item; empty if no query has one.
  """
  scores = evaluation.per_query(run.histogram, METRIC)
  able = np.flatnonzero(~metrics.without_relevant(run.histogram))
  order = able[np.argsort(-scores[able], kind="stable")]
  count = min(_PER_GROUP, max(1, len(order) // 3))
  middle = (len(order) - count) // 2
  groups = {
    "Best": order[:count],
    "Median": order[middle : middle + count],
    "Worst": order[-count:][::-1],
  }
  return {
    name: _rows(run, splits, chosen, scores)
    for name, chosen in groups.items()
    if len(chosen)
  }


def _rows(run: RunFiles, splits: data.Splits, chosen, scores) -> list[Row]:
  queries = run.sample[chosen]
  distances, found = neighbors.top_k(
    run.query_codes[queries],
    run.database_codes,
    min(_TOP, len(run.database_codes)),
  )
  rows = []
  for place, query in enumerate(queries):
    labels = run.query_labels[query]
    shared = run.database_labels[found[place]] @ labels.astype(np.int64)
    tiles = tuple(
      dataclasses.replace(
        _tile(splits.database, item, run.class_names),
        distance=int(distance),
        shared=int(number),
      )
      for item, distance, number in zip(
        found[place], distances[place], shared, strict=True
      )
    )
    tile = _tile(splits.query, query, run.class_names)
    rows.append(Row(tile, float(scores[chosen[place]]), tiles))
  return rows


def _tile(split: data.Split, item: int, class_names: Sequence[str]) -> Tile:
  labels = np.flatnonzero(split.labels[item])
  return Tile(
    image=split.take(np.array([item]))[0],
    id=str(split.ids[item]),
    labels=tuple(class_names[label] for label in labels),
  )


def draw(groups: Mapping[str, Sequence[Row]], side: int = 72) -> bytes:
  """Draw the first query of each group with its nearest items.

  Args:
    groups: From `create`; at least one.
    side: Side of an image, pixels.

  Returns:
    A PNG file: a row for each group, the query on the left.
  """
  edge, gap = 5, 6
  step = side + 2 * edge + gap
  rows = [rows[0] for rows in groups.values()]
  columns = max(len(row.found) for row in rows) + 1
  size = (columns * step + gap, len(rows) * step - gap)
  sheet = Image.new("RGBA", size, (0, 0, 0, 0))
  for y, row in enumerate(rows):
    edges = [_EDGES[min(tile.shared, len(_EDGES) - 1)] for tile in row.found]
    for x, (tile, colour) in enumerate(
      zip((row.query, *row.found), (_INK, *edges), strict=True)
    ):
      corner = (x * step + (gap if x else 0), y * step)
      framed = Image.new("RGB", (side + 2 * edge,) * 2, colour)
      framed.paste(
        Image.fromarray(tile.image).resize((side, side)), (edge,) * 2
      )
      sheet.paste(framed, corner)
  buffer = io.BytesIO()
  sheet.quantize(128).save(buffer, "png", optimize=True)
  return buffer.getvalue()


def data_uri(image: np.ndarray) -> str:
  """Return an image uint8 [H,W,3] as a data URI.

  Images larger than `_MAX_SIDE` are scaled down to a JPEG, others are PNG.
  """
  scaled, kind = Image.fromarray(image), "png"
  if max(scaled.size) > _MAX_SIDE:
    scaled.thumbnail((_MAX_SIDE, _MAX_SIDE))
    kind = "jpeg"
  buffer = io.BytesIO()
  scaled.save(buffer, kind, quality=85)
  encoded = base64.b64encode(buffer.getvalue()).decode("ascii")
  return f"data:image/{kind};base64,{encoded}"
