"""Images of queries and of their nearest database items."""

import base64
import dataclasses
import io
from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image

from dsh_jax import data, errors, models
from dsh_jax.config import factories, fields
from dsh_jax.report.run_files import RunFiles
from dsh_jax.retrieval import evaluation, neighbors

METRIC = "ndcg@100"
_TOP = 10
_PER_GROUP = 3
_MAX_SIDE = 256  # Pixels in the page; larger images are scaled down.
_LOSSLESS_SIDE = 128  # Larger images become JPEG files.
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
class Answer:
  """What a run finds for a query.

  Attributes:
    name: Of the run.
    score: The query's score by `METRIC`.
    found: Database items, nearest first.
  """

  name: str
  score: float
  found: tuple[Tile, ...]


@dataclasses.dataclass(frozen=True)
class Row:
  """A query and its nearest database items by every run.

  Attributes:
    query: The query.
    answers: Of each run.
  """

  query: Tile
  answers: tuple[Answer, ...]


def load_splits(run: RunFiles) -> data.Splits:
  """Return the splits of a run, which must be those it was scored on."""
  config = fields.unflatten(run.config)
  if config.model.backbone == models.VECTORS:
    raise errors.UserError("the items of this run are features.")
  splits = factories.load_splits(config)
  for name in ("query", "database"):
    if splits.sha256[name] != run.result["split_sha256"][name]:
      raise errors.UserError(
        f"The {name} split of {config.data.name} is not the one of the run."
      )
  return splits


def create(
  runs: Sequence[RunFiles], splits: data.Splits
) -> dict[str, list[Row]]:
  """Choose queries by their mean score and find their neighbours.

  Args:
    runs: At least one, all with the same queries and database.
    splits: From `load_splits`.

  Returns:
    "Best", "Median" and "Worst" -> at most three rows each, one for several
    runs, without queries that have no relevant item; empty if no query has
    one.
  """
  scores = [evaluation.per_query(run.histogram, METRIC) for run in runs]
  able = np.flatnonzero(runs[0].is_able)
  order = able[np.argsort(-np.mean(scores, axis=0)[able], kind="stable")]
  count = min(_PER_GROUP if len(runs) == 1 else 1, max(1, len(order) // 3))
  middle = (len(order) - count) // 2
  groups = {
    "Best": order[:count],
    "Median": order[middle : middle + count],
    "Worst": order[-count:][::-1],
  }
  return {
    name: _rows(runs, splits, chosen, scores)
    for name, chosen in groups.items()
    if len(chosen)
  }


def _rows(runs, splits, chosen, scores) -> list[Row]:
  queries = runs[0].sample[chosen]
  answers = [
    _answers(run, splits, queries, score[chosen])
    for run, score in zip(runs, scores, strict=True)
  ]
  return [
    Row(_tile(splits.query, query, runs[0].class_names), tuple(of_query))
    for query, *of_query in zip(queries, *answers, strict=True)
  ]


def _answers(run, splits, queries, scores) -> list[Answer]:
  distances, found = neighbors.top_k(
    run.query_codes[queries],
    run.database_codes,
    min(_TOP, len(run.database_codes)),
  )
  answers = []
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
    answers.append(Answer(run.name, float(scores[place]), tiles))
  return answers


def _tile(split: data.Split, item: int, class_names: Sequence[str]) -> Tile:
  labels = np.flatnonzero(split.labels[item])
  return Tile(
    image=split.take(np.array([item]))[0],
    id=str(split.ids[item]),
    labels=tuple(class_names[label] for label in labels),
  )


def draw(groups: Mapping[str, Sequence[Row]], side: int = 72) -> bytes:
  """Draw the first query of each group with what the first run finds.

  Args:
    groups: From `create`; at least one.
    side: Side of an image, pixels.

  Returns:
    A PNG file: a row for each group, the query on the left.
  """
  edge, gap = 5, 6
  step = side + 2 * edge + gap
  rows = [rows[0] for rows in groups.values()]
  columns = max(len(row.answers[0].found) for row in rows) + 1
  size = (columns * step + gap, len(rows) * step - gap)
  sheet = Image.new("RGBA", size, (0, 0, 0, 0))
  for y, row in enumerate(rows):
    found = row.answers[0].found
    edges = [_EDGES[min(tile.shared, len(_EDGES) - 1)] for tile in found]
    for x, (tile, colour) in enumerate(
      zip((row.query, *found), (_INK, *edges), strict=True)
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

  Photographs are JPEG, at most `_MAX_SIDE` pixels a side; small images PNG.
  """
  scaled = Image.fromarray(image)
  kind = "jpeg" if max(scaled.size) > _LOSSLESS_SIDE else "png"
  scaled.thumbnail((_MAX_SIDE, _MAX_SIDE))
  buffer = io.BytesIO()
  scaled.save(buffer, kind, quality=85)
  encoded = base64.b64encode(buffer.getvalue()).decode("ascii")
  return f"data:image/{kind};base64,{encoded}"
