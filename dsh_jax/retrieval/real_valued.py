"""Ranking by real-valued similarity: the reference for all codes.

Such a ranking is a sequence of tied buckets of mostly one item, so the metrics
of codes apply. It is computed on the host in float64, because rounding would
tie or reorder items.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from dsh_jax import errors
from dsh_jax.retrieval import evaluation, metrics, rankings

# Largest histogram [Q,N,S+1] in memory, in cells.
_MAX_CELLS = 1 << 22


def check_features(
  features: ArrayLike, num_features: int | None = None
) -> np.ndarray:
  """Return real features as a finite float64 matrix [N,F], N, F >= 1."""
  features = np.asarray(features, np.float64)
  if features.ndim != 2 or 0 in features.shape:
    raise errors.UserError(
      f"Features have shape {features.shape}; give [items, features]."
    )
  if num_features is not None and features.shape[1] != num_features:
    raise errors.UserError(
      f"Features have {features.shape[1]} columns, but earlier features have"
      f" {num_features}. Use one network for all splits."
    )
  if not np.isfinite(features).all():
    raise errors.UserError("Features hold values that are not finite.")
  return features


def rank_histogram(
  similarity: np.ndarray, query_labels: ArrayLike, database_labels: ArrayLike
) -> np.ndarray:
  """Return the histogram int64 [Q,N,S+1] of a ranking by similarity [Q,N].

  Bucket d holds the items with the d-th largest distinct similarity, so only
  exactly equal values are tied.
  """
  shared = (
    np.asarray(query_labels, np.int64) @ np.asarray(database_labels, np.int64).T
  )
  rankings.check_shared(int(shared.max(initial=0)))
  num_queries, num_items = shared.shape
  hist = np.zeros((num_queries, num_items, shared.max(initial=0) + 1), np.int64)
  order = np.argsort(-similarity, axis=1, kind="stable")
  ranked = np.take_along_axis(similarity, order, axis=1)
  new = np.ones((num_queries, num_items), np.int64)
  new[:, 1:] = ranked[:, 1:] != ranked[:, :-1]
  bucket = np.cumsum(new, axis=1) - 1
  rows = np.repeat(np.arange(num_queries), num_items)
  level = np.take_along_axis(shared, order, axis=1)
  np.add.at(hist, (rows, bucket.ravel(), level.ravel()), 1)
  return hist


def evaluate_cosine(
  query_features: ArrayLike,
  database_features: ArrayLike,
  query_labels: ArrayLike,
  database_labels: ArrayLike,
  names: Sequence[str] = metrics.DEFAULT_METRICS,
  drop_empty: bool = False,
  normalizer: str = "retrieved",
) -> dict[str, dict]:
  """Score the ranking of the database by the cosine of features [Q or N,F].

  Other arguments and the result are as for `evaluation.evaluate_codes`, whose
  counts are "queries", "database" and "queries_without_relevant" here. Metrics
  within a Hamming radius are skipped.
  """
  names = [n for n in names if evaluation.parse(n).kind != "ball"]
  query = unit(check_features(query_features))
  database = unit(
    check_features(database_features, num_features=query.shape[1])
  )
  query_labels = np.asarray(query_labels)
  database_labels = np.asarray(database_labels)
  for what, x, y in (
    ("query", query, query_labels),
    ("database", database, database_labels),
  ):
    if y.ndim != 2 or len(x) != len(y):
      raise errors.UserError(
        f"There are {len(x)} {what} features but labels of shape {y.shape};"
        " give one row [L] for each."
      )
  most = int(query_labels.sum(axis=1).max(initial=0))
  block = max(1, _MAX_CELLS // (len(database) * (most + 1)))
  histograms = (
    rank_histogram(
      query[start : start + block] @ database.T,
      query_labels[start : start + block],
      database_labels,
    )
    for start in range(0, len(query), block)
  )
  means, counts = evaluation.average(histograms, names, normalizer, drop_empty)
  return {
    "metrics": means,
    "counts": {"queries": len(query), "database": len(database), **counts},
  }


def unit(x: np.ndarray) -> np.ndarray:
  """Return rows [N,F] scaled to norm 1; a zero row stays zero."""
  norm = np.linalg.norm(x, axis=1, keepdims=True)
  return x / np.where(norm > 0, norm, 1)
