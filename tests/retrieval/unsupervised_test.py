"""Classical hashing of small synthetic features."""

import numpy as np
import pytest

from dsh_jax import errors
from dsh_jax.retrieval import codes, evaluation, unsupervised


def make_clusters(seed=0, num_items=120, num_features=6):
  """Return features of three distant clusters; the label is the cluster."""
  rng = np.random.default_rng(seed)
  centres = 6 * np.eye(3, num_features)
  cluster = rng.integers(0, 3, num_items)
  features = centres[cluster] + rng.normal(size=(num_items, num_features))
  return features + 10, np.eye(3, dtype=np.uint8)[cluster]


@pytest.mark.parametrize("name", unsupervised.METHODS)
@pytest.mark.parametrize("num_bits", [1, 4, 9])
def test_codes_of_any_length(name, num_bits):
  features, _ = make_clusters()
  relaxed = unsupervised.fit(name, features, num_bits)(features[:50])
  assert relaxed.shape == (50, num_bits) and np.isfinite(relaxed).all()
  again = unsupervised.fit(name, features, num_bits)(features[:50])
  np.testing.assert_array_equal(relaxed, again)
  # No bit is the same for (nearly) all items.
  assert (np.abs((relaxed > 0).mean(axis=0) - 0.5) < 0.45).all()


def test_similar_features_get_similar_codes():
  train, _ = make_clusters(0)
  query, query_labels = make_clusters(1, 30)
  database, database_labels = make_clusters(2, 200)
  scores = {}
  for name in unsupervised.METHODS:
    encode = unsupervised.fit(name, train, 16)
    packed = [codes.pack(encode(x)) for x in (query, database)]
    result = evaluation.evaluate_codes(
      *packed, query_labels, database_labels, 16, ("map@all",)
    )
    scores[name] = result["metrics"]["map@all"]
  chance = scores["random"]["chance"]
  assert abs(scores["random"]["expected"] - chance) < 0.05
  for name in ("lsh", "pca_sign", "itq", "spectral"):
    assert scores[name]["expected"] > chance + 0.15, name


def test_itq_rotates_towards_signs():
  features, _ = make_clusters()
  errors_of = {}
  for name in ("pca_sign", "itq"):
    relaxed = unsupervised.fit(name, features, 4)(features)
    errors_of[name] = np.mean((relaxed - np.where(relaxed > 0, 1, -1)) ** 2)
  assert errors_of["itq"] < errors_of["pca_sign"]
  # A rotation keeps the lengths of the principal components.
  lengths = [
    np.linalg.norm(unsupervised.fit(n, features, 4)(features), axis=1)
    for n in ("pca_sign", "itq")
  ]
  np.testing.assert_allclose(*lengths)


def test_spectral_follows_the_longest_axis():
  # The first bits are the first and second mode of the long axis.
  x = np.linspace(0, 1, 101)
  features = np.stack([100 * x, np.sin(97 * x)], axis=1)
  relaxed = unsupervised.fit("spectral", features, 2)(features)
  halves = relaxed[:, 0] > 0
  assert abs(np.flatnonzero(np.diff(halves)) - 50).max() <= 1
  assert (np.diff(relaxed[:, 1] > 0) != 0).sum() == 2


def test_bad_features_are_refused():
  features, _ = make_clusters()
  with pytest.raises(errors.UserError, match="Did you mean 'itq'"):
    unsupervised.fit("itqq", features, 8)
  with pytest.raises(errors.UserError, match="config.bits"):
    unsupervised.fit("itq", features, 0)
  with pytest.raises(errors.UserError, match="not finite"):
    unsupervised.fit("lsh", features * np.nan, 8)
  with pytest.raises(errors.UserError, match="5 columns.* 6"):
    unsupervised.fit("lsh", features, 8)(features[:, :5])
