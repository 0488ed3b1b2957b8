"""Scores by label, and statistics of codes and ties."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from dsh_jax.report import curves
from dsh_jax.report.comparison import Block, Setting
from dsh_jax.report.run_files import RunFiles
from dsh_jax.retrieval import codes
from dsh_jax.runs import diagnostics


@dataclasses.dataclass(frozen=True)
class Row:
  """The scores of a group of queries.

  Attributes:
    name: Label or number of labels of the group.
    num_queries: Sampled queries of the group, at least one.
    num_items: Database items of the group.
    scores: Mean score of each setting.
  """

  name: str
  num_queries: int
  num_items: int
  scores: tuple[float, ...]


def by_label(block: Block, metric: str) -> list[Row]:
  """Return the scores of the queries with each label, lowest first."""
  run = block.runs[0]
  queries = run.query_labels[run.sample] > 0
  items = run.database_labels.sum(axis=0, dtype=np.int64)
  rows = _rows(
    block.settings,
    metric,
    [
      (name, queries[:, label], int(items[label]))
      for label, name in enumerate(run.class_names)
    ],
  )
  return sorted(rows, key=lambda row: row.scores[0])


def by_number_of_labels(block: Block, metric: str) -> list[Row]:
  """Return the scores of the queries with 0, 1, 2 ... labels."""
  run = block.runs[0]
  queries = run.query_labels[run.sample].sum(axis=1, dtype=np.int64)
  items = run.database_labels.sum(axis=1, dtype=np.int64)
  return _rows(
    block.settings,
    metric,
    [
      (str(count), queries == count, int((items == count).sum()))
      for count in np.unique(queries)
    ],
  )


def _rows(
  settings: Sequence[Setting],
  metric: str,
  groups: Sequence[tuple[str, np.ndarray, int]],
) -> list[Row]:
  scores = [setting.mean(metric) for setting in settings]
  return [
    Row(
      name,
      int(members.sum()),
      num_items,
      tuple(float(score[members].mean()) for score in scores),
    )
    for name, members, num_items in groups
    if members.any()
  ]


def describe_codes(run: RunFiles) -> dict[str, Any]:
  """Return statistics of the database codes and of the ties of a run.

  Returns:
    items: N.
    distinct: Number of different codes.
    most_common: Items that have the most frequent code.
    dead_bits: Indices of bits that are equal in all items.
    entropy: Mean entropy of a bit, in bits.
    nearest: (mean, largest) number of items at a query's nearest distance.
    effective_rank: See `diagnostics.describe`; None if not recorded.
    real_valued: See `scoring.compare_outputs`; None if not recorded.
  """
  _, counts = np.unique(run.database_codes, axis=0, return_counts=True)
  always, ever = (
    codes.unpack(reduce(run.database_codes, axis=0)[None], run.num_bits)[0]
    for reduce in (np.bitwise_and.reduce, np.bitwise_or.reduce)
  )
  at_distance = run.histogram.sum(axis=2)
  nearest = at_distance[
    np.arange(len(at_distance)), (at_distance > 0).argmax(axis=1)
  ]
  share, _ = curves.bits(run)
  return {
    "items": len(run.database_codes),
    "distinct": len(counts),
    "most_common": int(counts.max()),
    "dead_bits": np.flatnonzero(always == ever).tolist(),
    "entropy": float(diagnostics.bit_entropy(share).mean()),
    "nearest": (float(nearest.mean()), int(nearest.max())),
    "effective_rank": run.result.get("diagnostics", {}).get("effective_rank"),
    "real_valued": run.result.get("real_valued"),
  }
