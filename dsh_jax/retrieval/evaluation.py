"""Metrics by name, and the evaluation of codes from end to end."""

import dataclasses
import functools
import re
from collections.abc import Callable, Sequence

import jax
import numpy as np
from numpy.typing import ArrayLike

from dsh_jax import errors
from dsh_jax.retrieval import (
  codes,
  histogram,
  labels,
  metrics,
  rankings,
  threads,
)

METRICS = (
  "ndcg@k",
  "acg@k",
  "map@k",
  "wmap@k",
  "precision@k",
  "recall@k",
  "precision@r<=R",
)
# Cells of the histogram that are held at a time, eight bytes each; metrics
# need a few arrays of that size beside it.
MAX_CELLS = 1 << 22
# Queries whose metrics are computed at a time: their arrays stay in the cache.
QUERY_BLOCK = 256

_NAME = re.compile(
  r"(?P<kind>ndcg|acg|map|wmap|precision|recall)@(?P<k>all|0*[1-9]\d*)"
  r"|precision@r<=(?P<radius>\d+)"
)


@dataclasses.dataclass(frozen=True)
class Metric:
  """A metric name taken apart.

  Attributes:
    kind: "ndcg", "acg", "map", "wmap", "precision", "recall" or "ball".
    k: Cut-off, >= 1; None is the whole database.
    radius: For "ball", the largest distance, >= 0.
  """

  kind: str
  k: int | None = None
  radius: int | None = None


def parse(name: str, field: str = "config.eval.metrics") -> Metric:
  """Takes a metric name apart.

  Args:
    name: One of `METRICS` with a number, or "all" for k, filled in.
    field: Where the name is from, as the error names it.

  Raises:
    UserError: If there is no such metric.
  """
  match = _NAME.fullmatch(name) if isinstance(name, str) else None
  if match is None:
    raise errors.unknown(
      'metric (k is 1 or more, or "all")', name, METRICS, field
    )
  if match["radius"] is not None:
    return Metric("ball", radius=int(match["radius"]))
  k = None if match["k"] == "all" else int(match["k"])
  return Metric(match["kind"], k=k)


def per_query(
  hist: np.ndarray,
  name: str,
  ties: str = "expected",
  normalizer: str = "retrieved",
) -> np.ndarray:
  """Scores every query by a metric's name.

  Args:
    hist: int64 [Q, K+1, S+1], or the `Rankings` made of it.
    name: Such as "ndcg@100", "map@all" or "precision@r<=2".
    ties: "expected", "optimistic" or "pessimistic".
    normalizer: "relevant" or "retrieved", for map and wmap.

  Returns:
    float64 [Q].

  Raises:
    UserError: If a name is unknown, or the histogram is not as said.
  """
  metric = parse(name)
  if metric.kind == "ball":
    hist = rankings.read(hist, ties)
    return metrics.precision_within_radius(hist, metric.radius)
  functions: dict[str, Callable] = {
    "ndcg": metrics.ndcg,
    "acg": metrics.acg,
    "precision": metrics.precision,
    "recall": metrics.recall,
    "map": functools.partial(metrics.average_precision, normalizer=normalizer),
    "wmap": functools.partial(
      metrics.weighted_average_precision, normalizer=normalizer
    ),
  }
  return functions[metric.kind](hist, metric.k, ties=ties)


def score(
  hist: np.ndarray,
  names: Sequence[str] = metrics.DEFAULT_METRICS,
  normalizer: str = "retrieved",
) -> dict[str, dict[str, np.ndarray]]:
  """Scores every query by every name: all tie modes, and chance.

  Args:
    hist: int64 [Q, K+1, S+1].
    names: Names of metrics.
    normalizer: "relevant" or "retrieved", for map and wmap.

  Returns:
    name -> {"expected", "optimistic", "pessimistic", "chance"} -> float64 [Q].

  Raises:
    UserError: If a name is unknown, there are no queries, or the histogram is
      not as said.
  """
  if len(hist) == 0:
    raise errors.UserError("There are no queries to score; give at least one.")

  def work(first, last):
    return _score_block(rankings.read(hist[first:last]), names, normalizer)

  parts = threads.map_blocks(work, len(hist), QUERY_BLOCK)
  return {
    name: {
      ties: np.concatenate([part[name][ties] for part in parts])
      for ties in (*rankings.TIES, "chance")
    }
    for name in names
  }


def _score_block(
  found: rankings.Rankings, names: Sequence[str], normalizer: str
) -> dict[str, dict[str, np.ndarray]]:
  """Scores the rankings of some queries; see `score`."""
  scores = {}
  for name in names:
    scores[name] = {
      ties: per_query(found, name, ties, normalizer) for ties in rankings.TIES
    }
    scores[name]["chance"] = per_query(
      found.all_tied, name, "expected", normalizer
    )
  return scores


def evaluate_codes(
  query_packed: ArrayLike,
  database_packed: ArrayLike,
  query_labels: ArrayLike,
  database_labels: ArrayLike,
  num_bits: int,
  names: Sequence[str] = metrics.DEFAULT_METRICS,
  drop_empty: bool = False,
  normalizer: str = "retrieved",
  *,
  drop_unretrieved: bool = False,
  backend: str | None = None,
  devices: Sequence[jax.Device] | None = None,
) -> dict[str, dict]:
  """Ranks the database for every query and averages the metrics.

  Args:
    query_packed: uint32 [Q, ceil(K/32)], see `codes.pack`.
    database_packed: uint32 [N, ceil(K/32)].
    query_labels: [Q, L] of 0 and 1. A query without labels is allowed.
    database_labels: [N, L] of 0 and 1.
    num_bits: K.
    names: Names of metrics.
    drop_empty: Leaves queries without a relevant item out of every mean;
      otherwise they count as 0.
    normalizer: "relevant" or "retrieved", for map@k and wmap@k.
    drop_unretrieved: Leaves a query out of the mean of map@k and wmap@k if no
      tie order puts a relevant item among its first k.
    backend: See `histogram.joint_histogram`.
    devices: See `histogram.joint_histogram`.

  Returns:
    {"metrics": {name: {"expected", "optimistic", "pessimistic", "chance":
    float}}, "counts": {"queries", "database", "queries_without_relevant",
    "queries_without_label": int; "empty_balls@r<=R": int for every radius
    asked for}}. A mean over no query at all is 0.

  Raises:
    UserError: If a name is unknown, codes and labels do not fit each other,
      or there are no queries or no database items.
  """
  parsed = {name: parse(name) for name in names}
  if normalizer not in metrics.NORMALIZERS:
    raise errors.unknown(
      "normalizer", normalizer, metrics.NORMALIZERS, "config.eval.normalizer"
    )
  query_packed = codes.check(query_packed, num_bits, "query codes")
  query_labels = np.asarray(query_labels)
  query_sets = labels.pack(query_labels, "query labels")
  if len(query_packed) != len(query_sets):
    raise errors.UserError(
      f"There are {len(query_packed)} query codes but {len(query_sets)} query"
      " labels; every item needs one of each."
    )
  num_queries = len(query_packed)
  num_labels = labels.count(query_sets)
  most = int(num_labels.max(initial=0))
  block = max(1, MAX_CELLS // ((num_bits + 1) * (most + 1)))

  scores: dict[str, dict[str, list]] = {name: {} for name in parsed}
  kept: dict[str, list] = {name: [] for name in parsed}
  counts = {
    "queries": num_queries,
    "database": len(np.asarray(database_packed)),
    "queries_without_relevant": 0,
    "queries_without_label": int(np.sum(num_labels == 0)),
  }
  # At least one block, so that no queries is an error told by the histogram.
  for start in range(0, max(1, num_queries), block):
    rows = slice(start, start + block)
    hist = histogram.joint_histogram(
      query_packed[rows],
      database_packed,
      query_labels[rows],
      database_labels,
      num_bits,
      backend=backend,
      devices=devices,
    )
    empty = metrics.without_relevant(hist)
    counts["queries_without_relevant"] += int(empty.sum())
    for name, values in score(hist, list(parsed), normalizer).items():
      metric = parsed[name]
      keep = ~empty if drop_empty else np.ones(len(empty), bool)
      if drop_unretrieved and metric.kind in ("map", "wmap"):
        keep &= metrics.recall(hist, metric.k, "optimistic") > 0
      kept[name].append(keep)
      for ties, value in values.items():
        scores[name].setdefault(ties, []).append(value)
      if metric.kind == "ball":
        key = f"empty_balls@r<={metric.radius}"
        balls = int(metrics.empty_balls(hist, metric.radius).sum())
        counts[key] = counts.get(key, 0) + balls
  means = {}
  for name, by_ties in scores.items():
    keep = np.concatenate(kept[name])
    means[name] = {
      ties: float(np.concatenate(values)[keep].mean()) if keep.any() else 0.0
      for ties, values in by_ties.items()
    }
  return {"metrics": means, "counts": counts}
