"""Scores without training, where they would cost too much."""

import types

import numpy as np

from dsh_jax.runs import baselines


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
  }
  monkeypatch.setattr(baselines, "_MOST_IMAGES", 11)
  assert baselines.evaluate(splits, 8, 0) == {}
