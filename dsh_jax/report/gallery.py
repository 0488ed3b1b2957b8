"""Images of queries and their nearest database items."""

import base64
import dataclasses
import io
from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image

from dsh_jax import data, errors, models
from dsh_jax.report.run_files import RunFiles
from dsh_jax.retrieval import evaluation, neighbors
from dsh_jax.runs import stored_images

METRIC = "ndcg@100"
_TOP = 10
_PER_GROUP = 3
_MAX_SIDE = 256  # Pixels; larger images are scaled down.
_LOSSLESS_SIDE = 128  # Pixels; larger images become JPEG.
# Border colours for 0, 1, 2, 3 or more shared labels.
_BORDERS = ("#a3a5ab", "#7fb2e5", "#3f7fc4", "#1f4f96")
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
  """The result of a run for a query.

  Attributes:
    name: Name of the run.
    score: The query's score by `METRIC`.
    tiles: Database items, nearest first.
  """

  name: str
  score: float
  tiles: tuple[Tile, ...]


@dataclasses.dataclass(frozen=True)
class Row:
  """A query and the answer of each run."""

  query: Tile
  answers: tuple[Answer, ...]


def load_splits(run: RunFiles) -> dict[str, data.Split]:
  """Load the splits "query" and "database" that a run was scored on.

  Raises:
    UserError: They are features, cannot be found, or differ from those of the
      run.
  """
  if run.config["model.backbone"] == models.VECTORS:
    raise errors.UserError("the items of this run are features.")
  splits = {}
  for name, ids in (("query", run.query_ids), ("database", run.database_ids)):
    splits[name] = stored_images.open_split(
      run.config, run.result, name, ids, run.class_names
    )
    if splits[name].sha256() != run.result["split_sha256"][name]:
      raise errors.UserError(
        f"The {name} split of {run.result['dataset']} is not that of the run."
      )
  return splits


def create(
  runs: Sequence[RunFiles], splits: Mapping[str, data.Split]
) -> dict[str, list[Row]]:
  """Choose queries by their mean score and find their neighbours.

  Args:
    runs: At least one, all with the same queries and database.
    splits: From `load_splits`.

  Returns:
    "Best", "Median" and "Worst" -> at most three rows each, one for several
    runs; empty if no query has a relevant item.
  """
  scores = [evaluation.per_query(run.histogram, METRIC) for run in runs]
  rows = np.flatnonzero(runs[0].has_relevant)
  order = rows[np.argsort(-np.mean(scores, axis=0)[rows], kind="stable")]
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
    Row(_tile(splits["query"], query, runs[0].class_names), tuple(of_query))
    for query, *of_query in zip(queries, *answers, strict=True)
  ]


def _answers(run, splits, queries, scores) -> list[Answer]:
  distances, items = neighbors.top_k(
    run.query_codes[queries],
    run.database_codes,
    min(_TOP, len(run.database_codes)),
  )
  answers = []
  for row, query in enumerate(queries):
    labels = run.query_labels[query]
    shared = run.database_labels[items[row]] @ labels.astype(np.int64)
    tiles = tuple(
      dataclasses.replace(
        _tile(splits["database"], item, run.class_names),
        distance=int(distance),
        shared=int(overlap),
      )
      for item, distance, overlap in zip(
        items[row], distances[row], shared, strict=True
      )
    )
    answers.append(Answer(run.name, float(scores[row]), tiles))
  return answers


def _tile(split: data.Split, item: int, class_names: Sequence[str]) -> Tile:
  labels = np.flatnonzero(split.labels[item])
  return Tile(
    image=split.take(np.array([item]))[0],
    id=str(split.ids[item]),
    labels=tuple(class_names[label] for label in labels),
  )


def draw(groups: Mapping[str, Sequence[Row]], side: int = 72) -> bytes:
  """Draw the first query of each group with the answer of the first run.

  Args:
    groups: From `create`; at least one.
    side: Side of an image, pixels.

  Returns:
    A PNG file, one row per group, the query on the left.
  """
  border, gap = 5, 6
  step = side + 2 * border + gap
  rows = [rows[0] for rows in groups.values()]
  columns = max(len(row.answers[0].tiles) for row in rows) + 1
  size = (columns * step + gap, len(rows) * step - gap)
  sheet = Image.new("RGBA", size, (0, 0, 0, 0))
  for y, row in enumerate(rows):
    tiles = (row.query, *row.answers[0].tiles)
    for x, tile in enumerate(tiles):
      colour = _BORDERS[min(tile.shared, len(_BORDERS) - 1)] if x else _INK
      framed = Image.new("RGB", (side + 2 * border,) * 2, colour)
      image = Image.fromarray(tile.image).resize((side, side))
      framed.paste(image, (border,) * 2)
      sheet.paste(framed, (x * step + (gap if x else 0), y * step))
  buffer = io.BytesIO()
  sheet.quantize(128).save(buffer, "png", optimize=True)
  return buffer.getvalue()


def data_uri(image: np.ndarray) -> str:
  """Return an image uint8 [H,W,3] as a data URI.

  Large images become JPEG of at most `_MAX_SIDE` pixels a side, small ones PNG.
  """
  scaled = Image.fromarray(image)
  kind = "jpeg" if max(scaled.size) > _LOSSLESS_SIDE else "png"
  scaled.thumbnail((_MAX_SIDE, _MAX_SIDE))
  buffer = io.BytesIO()
  scaled.save(buffer, kind, quality=85)
  encoded = base64.b64encode(buffer.getvalue()).decode("ascii")
  return f"data:image/{kind};base64,{encoded}"
