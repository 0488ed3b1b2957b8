"""Retrieval metrics from a joint histogram, exact under ties, in float64.

Every function takes hist, int64 [Q, K+1, S+1] (`histogram.joint_histogram`),
and returns float64 [Q]. Items at one distance are tied; `ties` says how the
orders inside a tie count:

  expected     the mean over all orders
  optimistic   the highest value that an order gives
  pessimistic  the lowest

A cut-off k of None means the whole database. A query without any relevant item
scores 0.

Source: tie-aware means after McSherry and Najork, Computing information
retrieval performance measures efficiently in the presence of tied scores,
ECIR 2008; weighted average precision (mean average precision with ACG in place
of precision) after Zhao et al., Deep semantic ranking based hashing for
multi-label image retrieval, CVPR 2015.
"""

import numpy as np

from dsh_jax import errors
from dsh_jax.retrieval import buckets, cutoff, harmonic

DEFAULT_METRICS = (
  "ndcg@100",
  "ndcg@1000",
  "acg@100",
  "map@all",
  "map@5000",
  "wmap@5000",
  "precision@r<=2",
)
NORMALIZERS = ("relevant", "retrieved")


def precision(
  hist: np.ndarray, k: int | None, ties: str = "expected"
) -> np.ndarray:
  """Share of relevant items among the first k.

  Args:
    hist: int64 [Q, K+1, S+1].
    k: Cut-off, >= 1; None is the size of the database.
    ties: "expected", "optimistic" or "pessimistic".

  Returns:
    float64 [Q]. Ranks beyond the database hold nothing relevant.

  Raises:
    UserError: If an argument is not as said.
  """
  return acg(buckets.binary(buckets.check(hist, ties)), k, ties)


def acg(hist: np.ndarray, k: int | None, ties: str = "expected") -> np.ndarray:
  """Average cumulative gain: mean number of shared labels in the first k.

  Args:
    hist: int64 [Q, K+1, S+1].
    k: Cut-off, >= 1; None is the size of the database.
    ties: "expected", "optimistic" or "pessimistic".

  Returns:
    float64 [Q].

  Raises:
    UserError: If an argument is not as said.
  """
  hist, k = _check(hist, k, ties)
  return _gain_in_first(hist, k, ties) / k


def recall(
  hist: np.ndarray, k: int | None, ties: str = "expected"
) -> np.ndarray:
  """Share of a query's relevant items that are among the first k.

  Args:
    hist: int64 [Q, K+1, S+1].
    k: Cut-off, >= 1; None is the size of the database.
    ties: "expected", "optimistic" or "pessimistic".

  Returns:
    float64 [Q].

  Raises:
    UserError: If an argument is not as said.
  """
  hist, k = _check(hist, k, ties)
  hist = buckets.binary(hist)
  return _divide(_gain_in_first(hist, k, ties), hist[:, :, 1].sum(axis=1))


def ndcg(
  hist: np.ndarray, k: int | None = None, ties: str = "expected"
) -> np.ndarray:
  """Normalised discounted cumulative gain, gain 2^s - 1, discount log2(1+r).

  Args:
    hist: int64 [Q, K+1, S+1].
    k: Cut-off, >= 1; None is the size of the database.
    ties: "expected", "optimistic" or "pessimistic".

  Returns:
    float64 [Q].

  Raises:
    UserError: If an argument is not as said.
  """
  hist, k = _check(hist, k, ties)
  gains = np.exp2(np.arange(hist.shape[2])) - 1
  sums = harmonic.discount_sums(min(k, int(hist[0].sum())))

  def discounted(tied: buckets.Buckets) -> np.ndarray:
    first = np.minimum(tied.items_before, len(sums) - 1)
    last = np.minimum(tied.items_before + tied.items, len(sums) - 1)
    discounts = sums[last.astype(np.int64)] - sums[first.astype(np.int64)]
    return np.sum(_divide(tied.gain, tied.items) * discounts, axis=1)

  found = buckets.create(buckets.first_ranks(hist, k), gains, ties)
  all_tied = hist.sum(axis=1, keepdims=True)
  ideal = buckets.create(all_tied, gains, "optimistic")
  return _divide(discounted(found), discounted(ideal))


def average_precision(
  hist: np.ndarray,
  k: int | None = None,
  normalizer: str = "relevant",
  ties: str = "expected",
) -> np.ndarray:
  """Average precision: mean of precision@rank over the relevant ranks.

  Args:
    hist: int64 [Q, K+1, S+1].
    k: Cut-off, >= 1; None is the size of the database.
    normalizer: Divides the sum over the relevant ranks up to k. "relevant":
      min(k, relevant items in the database). "retrieved": relevant items among
      the first k, the habit of most released hashing code.
    ties: "expected", "optimistic" or "pessimistic".

  Returns:
    float64 [Q].

  Raises:
    UserError: If an argument is not as said.
  """
  hist = buckets.binary(buckets.check(hist, ties))
  return weighted_average_precision(hist, k, normalizer, ties)


def weighted_average_precision(
  hist: np.ndarray,
  k: int | None = None,
  normalizer: str = "relevant",
  ties: str = "expected",
) -> np.ndarray:
  """Weighted average precision: mean of ACG@rank over the relevant ranks.

  Args:
    hist: int64 [Q, K+1, S+1].
    k: Cut-off, >= 1; None is the size of the database.
    normalizer: As in `average_precision`.
    ties: "expected", "optimistic" or "pessimistic".

  Returns:
    float64 [Q].

  Raises:
    UserError: If an argument is not as said.
  """
  hist, k = _check(hist, k, ties)
  if normalizer not in NORMALIZERS:
    raise errors.unknown("normalizer", normalizer, NORMALIZERS, "normalizer")
  gains = np.arange(hist.shape[2], dtype=np.float64)
  relevant = hist[:, :, 1:].sum(axis=(1, 2)).astype(np.float64)
  whole = k >= int(hist[0].sum())
  hist = buckets.first_ranks(hist, k)
  if normalizer == "retrieved" and not whole:
    return _over_retrieved(hist, k, gains, ties)
  tied = buckets.create(hist, gains, ties)
  total = _gain_at_relevant(tied, tied.slots(k)).sum(axis=1)
  return _divide(total, np.minimum(relevant, k))


def precision_within_radius(hist: np.ndarray, radius: int) -> np.ndarray:
  """Share of relevant items in the Hamming ball; an empty ball counts as 0.

  Ties do not matter to it.

  Args:
    hist: int64 [Q, K+1, S+1].
    radius: Largest distance, >= 0.

  Returns:
    float64 [Q].

  Raises:
    UserError: If an argument is not as said.
  """
  inside = _ball(hist, radius)
  return _divide(inside[:, 1:].sum(axis=1), inside.sum(axis=1))


def empty_balls(hist: np.ndarray, radius: int) -> np.ndarray:
  """Tells which queries find nothing within a Hamming radius.

  Args:
    hist: int64 [Q, K+1, S+1].
    radius: Largest distance, >= 0.

  Returns:
    bool [Q].

  Raises:
    UserError: If an argument is not as said.
  """
  return _ball(hist, radius).sum(axis=1) == 0


def precision_recall_curve(hist: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Precision and recall of the Hamming balls of every radius.

  Args:
    hist: int64 [Q, K+1, S+1].

  Returns:
    precision: float64 [Q, K+1]; 0 where the ball is empty.
    recall: float64 [Q, K+1]; 0 for a query without relevant items.

  Raises:
    UserError: If the histogram is not as said.
  """
  hist = buckets.check(hist, "expected")
  items = np.cumsum(hist.sum(axis=2), axis=1)
  relevant = np.cumsum(hist[:, :, 1:].sum(axis=2), axis=1)
  return _divide(relevant, items), _divide(relevant, relevant[:, -1:])


def without_relevant(hist: np.ndarray) -> np.ndarray:
  """Tells which queries share no label with any item: bool [Q]."""
  hist = buckets.check(hist, "expected")
  return hist[:, :, 1:].sum(axis=(1, 2)) == 0


def all_tied(hist: np.ndarray) -> np.ndarray:
  """Makes the histogram of codes that are all equal: what chance scores.

  Args:
    hist: int64 [Q, K+1, S+1].

  Returns:
    int64 [Q, 1, S+1]; "expected" metrics of it are those of a random order.
  """
  return np.asarray(hist).sum(axis=1, keepdims=True)


def _divide(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
  """Divides, float64; 0 where the denominator is 0."""
  shape = np.broadcast_shapes(np.shape(numerator), np.shape(denominator))
  return np.divide(
    numerator, denominator, out=np.zeros(shape), where=denominator != 0
  )


def _check(
  hist: np.ndarray, k: int | None, ties: str
) -> tuple[np.ndarray, int]:
  """Checks arguments, fills in k, and gives the histogram a relevant column."""
  hist = buckets.check(hist, ties)
  if k is None:
    k = int(hist[0].sum())
  if isinstance(k, bool) or not isinstance(k, (int, np.integer)) or k < 1:
    raise errors.UserError(
      f"The cut-off is {k!r}; give a whole number of at least 1, or None for"
      " the whole database."
    )
  if hist.shape[2] == 1:
    hist = np.concatenate([hist, np.zeros_like(hist)], axis=2)
  return hist, int(k)


def _ball(hist: np.ndarray, radius: int) -> np.ndarray:
  """Counts items within a radius by overlap, int64 [Q, S+1]."""
  hist = buckets.check(hist, "expected")
  if radius < 0:
    raise errors.UserError(f"The radius is {radius}; give 0 or more.")
  return hist[:, : radius + 1].sum(axis=1)


def _gain_in_first(hist: np.ndarray, k: int, ties: str) -> np.ndarray:
  """Sums overlaps over the first k ranks, float64 [Q]."""
  gains = np.arange(hist.shape[2], dtype=np.float64)
  tied = buckets.create(buckets.first_ranks(hist, k), gains, ties)
  return np.sum(tied.gain * _divide(tied.slots(k), tied.items), axis=1)


def _gain_at_relevant(tied: buckets.Buckets, slots: np.ndarray) -> np.ndarray:
  """Expected sum of ACG@rank over the relevant among each bucket's first ranks.

  At rank N + u of a bucket stands a relevant item in p of n orders; then the
  u - 1 ranks above it in the bucket hold (u - 1)(p - 1)/(n - 1) others, of
  mean gain G/p.

  Args:
    tied: The buckets.
    slots: float64 [Q, M], how many ranks of each bucket count.

  Returns:
    float64 [Q, M].
  """
  inverse = harmonic.difference(tied.items_before, slots)
  rising = slots - (tied.items_before + 1) * inverse  # sum of (u-1)/(N+u)
  pairs = (tied.relevant - 1) / np.maximum(tied.items - 1, 1)
  fixed = tied.relevant * tied.gain_before + tied.gain
  return _divide(fixed * inverse + tied.gain * pairs * rising, tied.items)


def _over_retrieved(
  hist: np.ndarray, k: int, gains: np.ndarray, ties: str
) -> np.ndarray:
  """Weighted AP@k over the relevant items retrieved, float64 [Q]."""
  items = hist.sum(axis=2)
  ends = np.cumsum(items, axis=1)
  inside = ends <= k
  whole = hist * inside[:, :, None]
  tied = buckets.create(whole, gains, ties)
  score = _gain_at_relevant(tied, tied.items).sum(axis=1)
  relevant = tied.relevant.sum(axis=1)
  num_items = tied.items.sum(axis=1)
  result = _divide(score, relevant)
  # Queries whose rank k falls inside a bucket.
  cut = np.flatnonzero(num_items < k)
  if cut.size:
    edge = hist[cut, np.argmax(ends[cut] > k, axis=1)].astype(np.float64)
    bounds = {
      "expected": cutoff.expected,
      "optimistic": cutoff.optimistic,
      "pessimistic": cutoff.pessimistic,
    }
    result[cut] = bounds[ties](
      score[cut],
      relevant[cut],
      tied.gain.sum(axis=1)[cut],
      num_items[cut],
      edge,
      gains,
      k - num_items[cut],
    )
  return result
