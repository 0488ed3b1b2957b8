"""Fast scores of unhashed features by two metrics.

Equal similarities are ordered by row; `real_valued` treats them as tied and
has every metric, but is slower.
"""

import numpy as np
from numpy.typing import ArrayLike

from dsh_jax.retrieval import real_valued

METRICS = ("ndcg@100", "map@all")
_K = 100
_MAX_CELLS = 1 << 22  # Similarities in memory.


def evaluate_cosine(
  query_features: ArrayLike,
  database_features: ArrayLike,
  query_labels: np.ndarray,
  database_labels: np.ndarray,
) -> dict[str, float]:
  """Score the ranking of the database by the cosine of features [Q or N,F].

  Labels are [Q or N,L] of 0 and 1.

  Returns:
    Metric of `METRICS` -> its mean over all queries.
  """
  query, database = (
    real_valued.unit(np.asarray(x, np.float32))
    for x in (query_features, database_features)
  )
  query_labels = np.asarray(query_labels, np.float32)
  database_labels = np.asarray(database_labels, np.float32)
  block = max(1, _MAX_CELLS // len(database))
  scores: dict[str, list] = {name: [] for name in METRICS}
  for first in range(0, len(query), block):
    rows = slice(first, first + block)
    shared = query_labels[rows] @ database_labels.T
    order = np.argsort(-(query[rows] @ database.T), axis=1, kind="stable")
    ranked = np.take_along_axis(shared, order, axis=1)
    scores["ndcg@100"].append(_ndcg(ranked, shared))
    scores["map@all"].append(_average_precision(ranked))
  return {name: float(np.concatenate(x).mean()) for name, x in scores.items()}


def _ndcg(ranked, shared):
  k = min(_K, shared.shape[1])
  best = -np.sort(np.partition(-shared, k - 1, axis=1)[:, :k], axis=1)
  discount = 1 / np.log2(np.arange(2, k + 2))
  # Gains relative to the largest cannot overflow.
  most = best[:, :1].astype(np.float64)
  reached, ideal = (
    (np.exp2(gains - most) - np.exp2(-most)) @ discount
    for gains in (ranked[:, :k], best)
  )
  return np.divide(reached, ideal, out=np.zeros(len(ideal)), where=ideal > 0)


def _average_precision(ranked):
  relevant = ranked > 0
  ranks = np.arange(1, ranked.shape[1] + 1)
  precision = np.cumsum(relevant, axis=1) / ranks[None, :]
  count = relevant.sum(axis=1)
  total = (precision * relevant).sum(axis=1)
  return np.divide(total, count, out=np.zeros(len(count)), where=count > 0)
