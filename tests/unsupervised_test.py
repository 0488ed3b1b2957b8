"""Classical hashing, and real-valued ranking, on small made-up features."""

import itertools

import numpy as np
import pytest

from dsh_jax import errors, real_valued, unsupervised
from dsh_jax.retrieval import evaluate

NAMES = ("ndcg@3", "map@all", "acg@4", "precision@r<=2")


def make_clusters(seed=0, num_items=120, num_features=6):
  """Three clusters far apart; the label is the cluster."""
  rng = np.random.default_rng(seed)
  centres = 6 * np.eye(3, num_features)
  cluster = rng.integers(0, 3, num_items)
  features = centres[cluster] + rng.normal(size=(num_items, num_features))
  return features + 10, np.eye(3, dtype=np.uint8)[cluster]


@pytest.mark.parametrize("name", unsupervised.METHODS)
@pytest.mark.parametrize("num_bits", [1, 4, 9])
def test_codes_of_any_length(name, num_bits):
  features, _ = make_clusters()
  codes = unsupervised.fit(name, features, num_bits)(features[:50])
  assert codes.shape == (50, num_bits) and np.isfinite(codes).all()
  again = unsupervised.fit(name, features, num_bits)(features[:50])
  np.testing.assert_array_equal(codes, again)
  # No bit is the same for (nearly) all items.
  assert (np.abs((codes > 0).mean(axis=0) - 0.5) < 0.45).all()


def test_similar_features_get_similar_codes():
  train, _ = make_clusters(0)
  query, query_labels = make_clusters(1, 30)
  database, database_labels = make_clusters(2, 200)
  scores = {
    name: unsupervised.evaluate_hashing(
      name, train, query, database, query_labels, database_labels, 16,
      names=("map@all",),
    )["metrics"]["map@all"]
    for name in unsupervised.METHODS
  }  # fmt: skip
  chance = scores["random"]["chance"]
  assert abs(scores["random"]["expected"] - chance) < 0.05
  for name in ("lsh", "pca_sign", "itq", "spectral"):
    assert scores[name]["expected"] > chance + 0.15, name
  cosine = real_valued.evaluate_cosine(
    query - 10, database - 10, query_labels, database_labels, ("map@all",)
  )
  assert cosine["metrics"]["map@all"]["expected"] > 0.9


def test_itq_rotates_towards_signs():
  features, _ = make_clusters()
  errors_of = {}
  for name in ("pca_sign", "itq"):
    codes = unsupervised.fit(name, features, 4)(features)
    errors_of[name] = np.mean((codes - np.where(codes > 0, 1, -1)) ** 2)
  assert errors_of["itq"] < errors_of["pca_sign"]
  # A rotation: the lengths are those of the principal components.
  lengths = [
    np.linalg.norm(unsupervised.fit(n, features, 4)(features), axis=1)
    for n in ("pca_sign", "itq")
  ]
  np.testing.assert_allclose(*lengths)


def test_spectral_follows_the_longest_axis():
  # Along one long axis the first bits are its first and second mode.
  x = np.linspace(0, 1, 101)
  features = np.stack([100 * x, np.sin(97 * x)], axis=1)
  codes = unsupervised.fit("spectral", features, 2)(features)
  halves = codes[:, 0] > 0
  assert abs(np.flatnonzero(np.diff(halves)) - 50).max() <= 1
  assert (np.diff(codes[:, 1] > 0) != 0).sum() == 2


def brute_force_ndcg(similarity, shared, k):
  """Mean over all orders of equal similarities, by enumeration."""
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
  scores = evaluate.score(hist, ("ndcg@3",))["ndcg@3"]["expected"]
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
  ratio = (
    kept["metrics"]["map@all"]["expected"]
    / whole["metrics"]["map@all"]["expected"]
  )
  np.testing.assert_allclose(ratio, 30 / 29)


def test_bad_features_are_explained():
  features, labels = make_clusters()
  with pytest.raises(errors.UserError, match="Did you mean 'itq'"):
    unsupervised.fit("itqq", features, 8)
  with pytest.raises(errors.UserError, match="config.bits"):
    unsupervised.fit("itq", features, 0)
  with pytest.raises(errors.UserError, match="not finite"):
    unsupervised.fit("lsh", features * np.nan, 8)
  with pytest.raises(errors.UserError, match="5 columns.* 6"):
    unsupervised.fit("lsh", features, 8)(features[:, :5])
  with pytest.raises(errors.UserError, match="120 query features"):
    real_valued.evaluate_cosine(features, features, labels[:7], labels)
