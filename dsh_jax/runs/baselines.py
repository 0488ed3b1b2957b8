"""Scores without training, to compare with those of a run."""

import numpy as np

from dsh_jax import data
from dsh_jax.retrieval import codes, evaluation, strict, unsupervised

_SIDE = 8  # Pixels of the thumbnails that are hashed.
_CHUNK = 256  # Images read at a time.
# Reading a larger database of images again would take long.
_MOST_IMAGES = 50_000
_MOST_FITTED = 10_000  # Training items to fit directions to.
_MOST_ROTATED = 640_000  # Numbers to fit a rotation to: half a second.


def evaluate(
  splits: data.Splits, num_bits: int, seed: int
) -> dict[str, dict[str, float]]:
  """Score LSH, the signs of principal components and ITQ with K bits.

  Args:
    splits: Features, or images, of which thumbnails of 8 x 8 pixels are hashed.
    num_bits: K.
    seed: Seed of the directions of LSH and the first rotation of ITQ.

  Returns:
    Baseline -> metric of `strict.METRICS` -> score of the test queries, its
    mean over the orders of ties. For features also the cosine, which has no
    ties. {} if the database has more than 50,000 images.
  """
  kind = "features" if len(splits.train.images.shape) == 2 else "pixels"
  query, database = splits.query, splits.database
  if kind == "pixels" and len(database) > _MOST_IMAGES:
    return {}
  encoded = [_vectors(query), _vectors(database)]
  labels = [query.labels, database.labels]
  scores = {}
  if kind == "features":
    scores["cosine of features"] = strict.evaluate_cosine(*encoded, *labels)
  fitted = _vectors(splits.train, _MOST_FITTED)
  lsh = unsupervised.fit("lsh", fitted, num_bits, seed)
  pca = unsupervised.fit("pca_sign", fitted, num_bits, seed)
  # ITQ rotates the principal components, which are there.
  components = pca(fitted[: _MOST_ROTATED // num_bits])
  rotate = unsupervised.fit("itq", components, num_bits, seed)
  encoders = {"LSH": lsh, "PCA": pca, "ITQ": lambda x: rotate(pca(x))}
  for title, encode in encoders.items():
    metrics = evaluation.evaluate_codes(
      *(codes.pack(encode(x)) for x in encoded),
      *labels,
      num_bits,
      names=strict.METRICS,
    )["metrics"]
    scores[f"{title} of {kind}, {num_bits} bits"] = {
      metric: metrics[metric]["expected"] for metric in strict.METRICS
    }
  return scores


def _vectors(split: data.Split, at_most: int | None = None) -> np.ndarray:
  """Return features [n,F], or the pixels of thumbnails float32 [n,192]."""
  rows = np.arange(len(split))[:at_most]
  if len(split.images.shape) == 2:
    return split.take(rows)
  return np.concatenate(
    [
      _thumbnails(split.take(rows[first : first + _CHUNK]))
      for first in range(0, len(rows), _CHUNK)
    ]
  )


def _thumbnails(images):
  images = images[:, :: (step := max(1, images.shape[1] // 64)), ::step]
  count, side = len(images), images.shape[1]
  box = -(-side // _SIDE)
  small = images[:, : side // box * box, : side // box * box]
  small = small.reshape(count, side // box, box, side // box, box, 3)
  return small.mean(axis=(2, 4), dtype=np.float32).reshape(count, -1)
