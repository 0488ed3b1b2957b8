"""Curves and statistics for the figures, from the codes of a run."""

import numpy as np

from dsh_jax.report.run_files import RunFiles
from dsh_jax.retrieval import codes, evaluation, metrics

_POINTS = 18  # Points of a curve over the cut-off k.
_MAX_ITEMS = 3000  # Database items in the figures of bits and the map.
_DRAWN_LABELS = 6  # Panels of the map.
_FEW_PAIRS = 20  # Distributions of fewer pairs are mostly noise.


def cut_offs(num_items: int) -> list[int]:
  """Return rising cut-offs 1 ... num_items, evenly spaced on a log scale."""
  return sorted(set(np.geomspace(1, num_items, _POINTS).round().astype(int)))


def by_cut_off(run: RunFiles, metric: str) -> tuple[list[int], dict[str, list]]:
  """Score the run at every cut-off by "ndcg" or "acg".

  Returns:
    The cut-offs, and "expected", "optimistic", "pessimistic" and "chance" ->
    means over the queries of `run.sample`.
  """
  ks = cut_offs(len(run.database_codes))
  names = [f"{metric}@{k}" for k in ks]
  scores = evaluation.score(run.histogram, names)
  kinds = ("expected", "optimistic", "pessimistic", "chance")
  means = {
    kind: [float(scores[name][kind].mean()) for name in names] for kind in kinds
  }
  return ks, means


def precision_recall(run: RunFiles) -> tuple[np.ndarray, np.ndarray]:
  """Return mean precision and recall at radius 0 to K, float64 [K+1] each.

  Precision is averaged over queries with a non-empty ball; NaN if there are
  none.
  """
  precision, recall = metrics.precision_recall_curve(run.histogram)
  filled = run.histogram.sum(axis=2).cumsum(axis=1) > 0
  count = filled.sum(axis=0)
  total = np.where(filled, precision, 0).sum(axis=0)
  mean = np.where(count > 0, total / np.maximum(count, 1), np.nan)
  return mean, recall.mean(axis=0)


def distances_by_overlap(run: RunFiles) -> np.ndarray:
  """Return the share of pairs at each distance, float64 [S+1,K+1].

  Row s is the distribution of the pairs that share s labels, or zeros if there
  are too few pairs.
  """
  counts = run.histogram.sum(axis=0).T.astype(np.float64)
  totals = counts.sum(axis=1, keepdims=True)
  few = min(_FEW_PAIRS, totals.sum() / 100)
  return np.where(totals < few, 0, counts / np.maximum(totals, 1))


def _sample(run: RunFiles) -> tuple[np.ndarray, np.ndarray]:
  """Return codes float64 [n,K] of -1 and 1, and labels [n,L], of a sample."""
  num_items = len(run.database_codes)
  count = min(num_items, _MAX_ITEMS)
  rows = np.arange(count) * num_items // count
  bits = codes.unpack(run.database_codes[rows], run.num_bits)
  return np.where(bits, 1.0, -1.0), run.database_labels[rows]


def bits(run: RunFiles) -> tuple[np.ndarray, np.ndarray]:
  """Return the share of ones of each bit [K], and correlations [K,K].

  Both are float64, from at most 3,000 database items. A constant bit has
  correlation 0 with every bit, including itself.
  """
  signs, _ = _sample(run)
  centred = signs - signs.mean(axis=0)
  deviation = np.sqrt((centred**2).mean(axis=0))
  covariance = centred.T @ centred / len(signs)
  scale = np.outer(deviation, deviation)
  correlation = np.where(scale > 0, covariance / np.maximum(scale, 1e-12), 0)
  return (signs.mean(axis=0) + 1) / 2, correlation


def plane(
  run: RunFiles,
) -> tuple[np.ndarray, float, list[tuple[str, np.ndarray]]]:
  """Project codes onto their two principal components.

  Returns:
    Coordinates float64 [n,2] of at most 3,000 database items, the share of
    variance they explain, and the name and members, bool [n], of each of the
    six most frequent labels.
  """
  signs, labels = _sample(run)
  centred = signs - signs.mean(axis=0)
  left, scale, _ = np.linalg.svd(centred, full_matrices=False)
  points = np.zeros((len(signs), 2))
  columns = min(2, len(scale))
  points[:, :columns] = left[:, :columns] * scale[:columns]
  total = float((scale**2).sum())
  share = float((scale[:2] ** 2).sum()) / total if total else 0.0
  frequent = np.argsort(-labels.sum(axis=0, dtype=np.int64), kind="stable")
  groups = [
    (run.class_names[label], labels[:, label] > 0)
    for label in frequent[:_DRAWN_LABELS]
  ]
  return points, share, groups
