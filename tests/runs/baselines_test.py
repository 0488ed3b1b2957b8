"""Scores without training, where they would cost too much."""

import types

import numpy as np
import pytest

from dsh_jax.retrieval import codes, evaluation, unsupervised
from dsh_jax.runs import baselines


def test_itq_is_the_method_of_that_name():
  rng = np.random.default_rng(0)
  centres = rng.standard_normal((6, 20))

  def split(count):
    labels = np.eye(6, dtype=np.uint8)[rng.integers(0, 6, count)]
    noise = rng.standard_normal((count, 20)) / 2
    x = (labels @ centres + noise).astype(np.float32)
    return _Split(images=x, labels=labels, take=x.__getitem__)

  train, query, database = split(300), split(30), split(90)
  splits = types.SimpleNamespace(train=train, query=query, database=database)
  scores = baselines.evaluate(splits, 12, 0)
  encode = unsupervised.fit("itq", train.images, 12, 0)
  own = evaluation.evaluate_codes(
    *(codes.pack(encode(x.images)) for x in (query, database)),
    query.labels,
    database.labels,
    12,
    names=("map@all",),
  )["metrics"]["map@all"]["expected"]
  found = [scores[f"{name} of features, 12 bits"]["map@all"]
           for name in ("LSH", "PCA", "ITQ")]  # fmt: skip
  assert found[2] == pytest.approx(own, abs=0.03)
  assert found[2] > max(found[:2])


class _Split(types.SimpleNamespace):
  def __len__(self):
    return len(self.images)


def test_a_large_database_is_not_read_again(monkeypatch):
  rng = np.random.default_rng(0)

  def split(count):
    images = rng.integers(0, 256, (count, 16, 16, 3), np.uint8)
    return _Split(
      images=images,
      labels=np.ones((count, 2), np.uint8),
      take=images.__getitem__,
    )

  splits = types.SimpleNamespace(
    train=split(20), query=split(3), database=split(12)
  )
  assert set(baselines.evaluate(splits, 8, 0)) == {
    "LSH of pixels, 8 bits",
    "PCA of pixels, 8 bits",
    "ITQ of pixels, 8 bits",
  }
  monkeypatch.setattr(baselines, "_MOST_IMAGES", 11)
  assert baselines.evaluate(splits, 8, 0) == {}
