"""Metrics by name, and the evaluation of codes."""

import dataclasses
import functools
import re
from collections.abc import Callable, Iterable, Sequence

import jax
import numpy as np
from numpy.typing import ArrayLike

from dsh_jax import errors
from dsh_jax.retrieval import histogram, labels, metrics, rankings, threads

METRICS = (
  "ndcg@k",
  "acg@k",
  "map@k",
  "wmap@k",
  "precision@k",
  "recall@k",
  "precision@r<=R",
)
# Largest histogram in memory, in cells of eight bytes; metrics need a few more
# arrays of that size.
MAX_CELLS = 1 << 22
# Queries scored at a time, so that their arrays stay in the cache.
QUERY_BLOCK = 256

# Numbers of at most 15 digits, which float64 and int64 hold.
_NAME = re.compile(
  r"(?P<kind>ndcg|acg|map|wmap|precision|recall)@(?P<k>all|0*[1-9]\d{0,14})"
  r"|precision@r<=0*(?P<radius>\d{1,15})"
)
_MAX_NAME = 40  # Characters; Python converts at most 4,300 digits.


@dataclasses.dataclass(frozen=True)
class Metric:
  """A parsed metric name.

  Attributes:
    kind: "ndcg", "acg", "map", "wmap", "precision", "recall" or "ball".
    k: Cut-off, >= 1; None is the whole database.
    radius: For "ball", the largest distance, >= 0.
  """

  kind: str
  k: int | None = None
  radius: int | None = None


def parse(name: str, field: str = "config.eval.metrics") -> Metric:
  """Parse one of `METRICS`, with a number or "all" for k.

  The error message names the field or flag to change.
  """
  match = None
  if isinstance(name, str) and len(name) <= _MAX_NAME:
    match = _NAME.fullmatch(name)
  if match is None:
    field += '; k is 1 or more, or "all"'
    raise errors.unknown("metric", name, METRICS, field)
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
  """Score every query by one metric.

  Args:
    hist: int64 [Q, K+1, S+1], or its `Rankings`.
    name: Such as "ndcg@100", "map@all" or "precision@r<=2".
    ties: "expected", "optimistic" or "pessimistic".
    normalizer: "relevant" or "retrieved", for map and wmap.

  Returns:
    float64 [Q].
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
  """Score every query by every metric, in all tie modes and by chance.

  Args:
    hist: int64 [Q, K+1, S+1].
    names: Metric names.
    normalizer: "relevant" or "retrieved", for map and wmap.

  Returns:
    name -> {"expected", "optimistic", "pessimistic", "chance"} -> float64 [Q].
  """
  if len(hist) == 0:
    raise errors.UserError("There are no queries to score; give at least one.")

  def work(first, last):
    ranking = rankings.read(hist[first:last])
    scores = {}
    for name in names:
      scores[name] = {
        ties: per_query(ranking, name, ties, normalizer)
        for ties in rankings.TIES
      }
      chance = per_query(ranking.all_tied, name, "expected", normalizer)
      scores[name]["chance"] = chance
    return scores

  parts = threads.map_blocks(work, len(hist), QUERY_BLOCK)
  return {
    name: {
      ties: np.concatenate([part[name][ties] for part in parts])
      for ties in (*rankings.TIES, "chance")
    }
    for name in names
  }


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
  over_hosts: bool = False,
  backend: str | None = None,
  devices: Sequence[jax.Device] | None = None,
) -> dict[str, dict]:
  """Rank the database for every query and average the metrics.

  Args:
    query_packed: uint32 [Q, ceil(K/32)], see `codes.pack`; Q >= 1.
    database_packed: uint32 [N, ceil(K/32)], N >= 1.
    query_labels: [Q, L] of 0 and 1. A query without labels is allowed.
    database_labels: [N, L] of 0 and 1.
    num_bits: K.
    names: Metric names.
    drop_empty: Whether means leave out queries without a relevant item, which
      else count as 0.
    normalizer: "relevant" or "retrieved", for map@k and wmap@k.
    drop_unretrieved: Whether means of map@k and wmap@k leave out queries for
      which no tie order puts a relevant item among the first k.
    over_hosts: See `histogram.joint_histogram`.
    backend: See `histogram.Accumulator`.
    devices: See `histogram.Accumulator`.

  Returns:
    {"metrics": {name: {"expected", "optimistic", "pessimistic", "chance":
    float}}, "counts": {"queries", "database", "queries_without_relevant",
    "queries_without_label", and "empty_balls@r<=R" for every radius of the
    metrics: int}}. A mean over no query is 0.
  """
  for name in names:
    parse(name)
  if normalizer not in metrics.NORMALIZERS:
    raise errors.unknown(
      "normalizer", normalizer, metrics.NORMALIZERS, "config.eval.normalizer"
    )
  query_packed, query_labels = histogram.check_items(
    query_packed, query_labels, num_bits, "query"
  )
  num_labels = labels.count(labels.pack(query_labels, "query labels"))
  most = int(num_labels.max())
  block = max(1, MAX_CELLS // ((num_bits + 1) * (most + 1)))
  histograms = (
    histogram.joint_histogram(
      query_packed[start : start + block],
      database_packed,
      query_labels[start : start + block],
      database_labels,
      num_bits,
      over_hosts=over_hosts,
      backend=backend,
      devices=devices,
    )
    for start in range(0, len(query_packed), block)
  )
  means, counts = average(
    histograms, names, normalizer, drop_empty, drop_unretrieved
  )
  counts = {
    "queries": len(query_packed),
    "database": len(np.asarray(database_packed)),
    "queries_without_relevant": counts.pop("queries_without_relevant"),
    "queries_without_label": int(np.sum(num_labels == 0)),
    **counts,
  }
  return {"metrics": means, "counts": counts}


def average(
  histograms: Iterable[np.ndarray],
  names: Sequence[str],
  normalizer: str,
  drop_empty: bool,
  drop_unretrieved: bool = False,
) -> tuple[dict[str, dict[str, float]], dict[str, int]]:
  """Average the metrics over blocks of queries; see `evaluate_codes`.

  There is at least one histogram, int64 [q, D, S+1], q >= 1.

  Returns:
    name -> {"expected", "optimistic", "pessimistic", "chance": float}, and
    the counts "queries_without_relevant" and "empty_balls@r<=R".
  """
  parsed = {name: parse(name) for name in names}
  scores: dict[str, dict[str, list]] = {name: {} for name in parsed}
  kept: dict[str, list] = {name: [] for name in parsed}
  counts = {"queries_without_relevant": 0}
  for hist in histograms:
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
  return means, counts
