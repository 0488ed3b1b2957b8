"""What the same features reach without training: beside the scores of codes."""

import numpy as np

from dsh_jax import data
from dsh_jax.retrieval import codes, evaluation, strict, unsupervised


def evaluate(
  splits: data.Splits, num_bits: int, seed: int
) -> dict[str, dict[str, float]]:
  """Score features by their cosine, and LSH of the length of the codes.

  Args:
    splits: Of features.
    num_bits: K.
    seed: Of the directions of LSH.

  Returns:
    "cosine" and "lsh" -> metric of `strict.METRICS` -> score of the test
    queries; of LSH the mean over all orders of ties.
  """

  def features(split):
    return split.take(np.arange(len(split)))

  query, database = splits.query, splits.database
  encoded, labels = (
    [features(query), features(database)],
    [
      query.labels,
      database.labels,
    ],
  )
  encode = unsupervised.fit("lsh", features(splits.train), num_bits, seed)
  hashed = evaluation.evaluate_codes(
    *(codes.pack(encode(x)) for x in encoded),
    *labels,
    num_bits,
    names=strict.METRICS,
  )["metrics"]
  return {
    "cosine": strict.evaluate_cosine(*encoded, *labels),
    "lsh": {name: hashed[name]["expected"] for name in strict.METRICS},
  }
