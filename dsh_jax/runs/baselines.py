"""What the same items reach without training: beside the scores of codes."""

import numpy as np

from dsh_jax import data
from dsh_jax.retrieval import codes, evaluation, strict, unsupervised

_SIDE = 8  # Of the thumbnails that stand for images, pixels.
_CHUNK = 256  # Images that are read at a time.
# Images of a database, at most: more would mean to read all of a large data set
# once again.
_MOST_IMAGES = 50_000
_FITTED = 10_000  # Training items that directions are found from, at most.


def evaluate(
  splits: data.Splits, num_bits: int, seed: int
) -> dict[str, dict[str, float]]:
  """Score LSH and signs of principal components, of the length of the codes.

  Args:
    splits: Of features; or of images, whose thumbnails of 8 x 8 pixels are
      hashed.
    num_bits: K.
    seed: Of random directions.

  Returns:
    Name of a baseline -> metric of `strict.METRICS` -> score of the test
    queries, the mean over all orders of ties. Of features also their cosine,
    without ties. {} if the database has more than 50,000 images.
  """
  of = "features" if len(splits.train.images.shape) == 2 else "pixels"
  query, database = splits.query, splits.database
  if of == "pixels" and len(database) > _MOST_IMAGES:
    return {}
  encoded = [_vectors(query), _vectors(database)]
  labels = [query.labels, database.labels]
  found = {}
  if of == "features":
    found["cosine of features"] = strict.evaluate_cosine(*encoded, *labels)
  fitted = _vectors(splits.train, _FITTED)
  for title, name in (("LSH", "lsh"), ("PCA", "pca_sign")):
    encode = unsupervised.fit(name, fitted, num_bits, seed)
    scores = evaluation.evaluate_codes(
      *(codes.pack(encode(x)) for x in encoded),
      *labels,
      num_bits,
      names=strict.METRICS,
    )["metrics"]
    found[f"{title} of {of}, {num_bits} bits"] = {
      metric: scores[metric]["expected"] for metric in strict.METRICS
    }
  return found


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
