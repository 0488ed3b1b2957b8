"""Real-valued ranking: exact under ties, in blocks of any size."""

import itertools

import numpy as np
import pytest

from dsh_jax import errors
from dsh_jax.retrieval import evaluation, real_valued

NAMES = ("ndcg@3", "map@all", "acg@4", "precision@r<=2")


def make_clusters(seed, num_items):
  """Return features of three directions; the label is the direction."""
  rng = np.random.default_rng(seed)
  cluster = rng.integers(0, 3, num_items)
  features = 6 * np.eye(3, 6)[cluster] + rng.normal(size=(num_items, 6))
  return features, np.eye(3, dtype=np.uint8)[cluster]


def brute_force_ndcg(similarity, shared, k):
  """Return the mean over all orders of equal similarities."""
  values = []
  for order in itertools.permutations(range(len(shared))):
    if any(
      similarity[a] < similarity[b]
      for a, b in zip(order, order[1:], strict=False)
    ):
      continue
    gains = [2.0 ** shared[i] - 1 for i in order[:k]]
    values.append(sum(g / np.log2(r + 2) for r, g in enumerate(gains)))
  best = sorted((2.0**s - 1 for s in shared), reverse=True)[:k]
  ideal = sum(g / np.log2(r + 2) for r, g in enumerate(best))
  return np.mean(values) / ideal if ideal else 0.0


def test_ranking_of_floats_equals_enumeration():
  rng = np.random.default_rng(0)
  similarity = rng.integers(0, 4, (5, 6)) / 4
  query = rng.integers(0, 2, (5, 3))
  database = rng.integers(0, 2, (6, 3))
  hist = real_valued.rank_histogram(similarity, query, database)
  assert hist.sum() == similarity.size
  scores = evaluation.score(hist, ("ndcg@3",))["ndcg@3"]["expected"]
  for q in range(5):
    expected = brute_force_ndcg(similarity[q], query[q] @ database.T, 3)
    np.testing.assert_allclose(scores[q], expected, atol=1e-12)


def test_cosine_ranking_in_blocks(monkeypatch):
  query, query_labels = make_clusters(1, 30)
  database, database_labels = make_clusters(2, 50)
  query_labels[3] = 0
  arguments = query, database, query_labels, database_labels, NAMES
  whole = real_valued.evaluate_cosine(*arguments)
  monkeypatch.setattr(real_valued, "_MAX_CELLS", 1)
  assert real_valued.evaluate_cosine(*arguments) == whole
  assert "precision@r<=2" not in whole["metrics"]
  assert whole["counts"] == {
    "queries": 30, "database": 50, "queries_without_relevant": 1,
  }  # fmt: skip
  kept = real_valued.evaluate_cosine(*arguments, drop_empty=True)
  expected, mean = (x["metrics"]["map@all"]["expected"] for x in (kept, whole))
  assert expected > 0.9  # Clusters are found.
  assert expected == pytest.approx(mean * 30 / 29)


def test_mismatched_arguments_are_refused():
  features, labels = make_clusters(0, 20)
  with pytest.raises(errors.UserError, match="20 query features"):
    real_valued.evaluate_cosine(features, features, labels[:7], labels)
  with pytest.raises(errors.UserError, match="5 columns.* 6"):
    real_valued.evaluate_cosine(features, features[:, :5], labels, labels)
