"""Retrieval metrics from a joint histogram, exact under ties, in float64.

Functions take hist, int64 [Q, K+1, S+1] (`histogram.joint_histogram`), or its
`Rankings`, which several metrics can share. Scores are float64 [Q]; a query
without relevant items scores 0. The cut-off k is at least 1; None is the whole
database. Items at equal distance are tied, and `ties` chooses among their
orders:

  expected     the mean over all orders
  optimistic   the highest value
  pessimistic  the lowest value

Source: tie-aware means after McSherry and Najork, Computing information
retrieval performance measures efficiently in the presence of tied scores,
ECIR 2008; weighted average precision (with ACG instead of precision) after
Zhao et al., Deep semantic ranking based hashing for multi-label image
retrieval, CVPR 2015.
"""

import numpy as np

from dsh_jax import errors
from dsh_jax.retrieval import cutoff, harmonic, rankings
from dsh_jax.retrieval.rankings import Rankings

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
  hist: np.ndarray | Rankings, k: int | None, ties: str = "expected"
) -> np.ndarray:
  """Return the share of relevant items among the first k, 0 to 1.

  Ranks beyond the database count as irrelevant.
  """
  return acg(rankings.read(hist, ties).binary, k, ties)


def acg(
  hist: np.ndarray | Rankings, k: int | None, ties: str = "expected"
) -> np.ndarray:
  """Return the mean number of shared labels of the first k, 0 to S.

  Ranks beyond the database add 0.
  """
  ranking = rankings.read(hist, ties)
  k = _cut(ranking, k)
  return _gain_in_first(ranking, k, ties) / k


def recall(
  hist: np.ndarray | Rankings, k: int | None, ties: str = "expected"
) -> np.ndarray:
  """Return the share of a query's relevant items among the first k, 0 to 1."""
  ranking = rankings.read(hist, ties).binary
  gain = _gain_in_first(ranking, _cut(ranking, k), ties)
  return _divide(gain, ranking.total_relevant)


def ndcg(
  hist: np.ndarray | Rankings, k: int | None = None, ties: str = "expected"
) -> np.ndarray:
  """Return NDCG@k with gain 2^s - 1 and discount log2(1 + r), 0 to 1.

  The divisor is the sum over the first k ranks of the best order. No number of
  shared labels overflows.
  """
  ranking = rankings.read(hist, ties)
  k = min(_cut(ranking, k), ranking.num_items)
  gains = _relative_gains(ranking)[:, :, None]
  sums = harmonic.discount_sums(k)

  def discount(ranks: np.ndarray) -> np.ndarray:
    return sums[np.minimum(ranks, k).astype(np.intp)]

  def in_order(target: Rankings, buckets: slice, order: str) -> np.ndarray:
    first = getattr(target, order)[0][:, buckets]
    last = discount(first + target.cells[:, buckets])
    return ((last - discount(first)) @ gains).sum(axis=(1, 2))

  buckets = slice(ranking.first(k))
  if ties == "expected":
    before, items = ranking.items_before[:, buckets], ranking.items[:, buckets]
    mean_gain = _divide((ranking.cells[:, buckets] @ gains)[:, :, 0], items)
    reached = mean_gain * (discount(before + items) - discount(before))
    reached = reached.sum(axis=1)
  else:
    reached = in_order(ranking, buckets, ties)
  return _divide(reached, in_order(ranking.all_tied, slice(1), "optimistic"))


def average_precision(
  hist: np.ndarray | Rankings,
  k: int | None = None,
  normalizer: str = "relevant",
  ties: str = "expected",
) -> np.ndarray:
  """Return the mean of precision@rank over the relevant ranks up to k, 0 to 1.

  The normalizer divides the sum: "relevant" is min(k, relevant items in the
  database), "retrieved" the relevant items among the first k, as in most
  released hashing code.
  """
  ranking = rankings.read(hist, ties).binary
  return weighted_average_precision(ranking, k, normalizer, ties)


def weighted_average_precision(
  hist: np.ndarray | Rankings,
  k: int | None = None,
  normalizer: str = "relevant",
  ties: str = "expected",
) -> np.ndarray:
  """Return the mean of ACG@rank over the relevant ranks, 0 to S.

  The arguments are those of `average_precision`.
  """
  ranking = rankings.read(hist, ties)
  k = _cut(ranking, k)
  if normalizer not in NORMALIZERS:
    raise errors.unknown("normalizer", normalizer, NORMALIZERS, "normalizer")
  if normalizer == "retrieved" and k < ranking.num_items:
    return _over_retrieved(ranking, k, ties)
  reach = np.full(len(ranking.cells), float(k))
  total = _gain_at_relevant(ranking, reach, ties)
  return _divide(total, np.minimum(ranking.total_relevant, k))


def precision_within_radius(
  hist: np.ndarray | Rankings, radius: int
) -> np.ndarray:
  """Return the share of relevant items within a radius >= 0, 0 to 1.

  An empty ball counts as 0.
  """
  inside = _ball(hist, radius)
  return _divide(inside[:, 1:].sum(axis=1), inside.sum(axis=1))


def empty_balls(hist: np.ndarray | Rankings, radius: int) -> np.ndarray:
  """Return which queries find nothing within a Hamming radius, bool [Q]."""
  return _ball(hist, radius).sum(axis=1) == 0


def precision_recall_curve(
  hist: np.ndarray | Rankings,
) -> tuple[np.ndarray, np.ndarray]:
  """Return precision and recall of the Hamming balls of every radius.

  Returns:
    precision: float64 [Q, K+1], by radius 0 ... K; 0 where the ball is empty.
    recall: float64 [Q, K+1]; 0 for a query without relevant items.
  """
  ranking = rankings.read(hist)
  items = ranking.items_before + ranking.items
  relevant = ranking.relevant_before + ranking.relevant
  return _divide(relevant, items), _divide(relevant, relevant[:, -1:])


def without_relevant(hist: np.ndarray | Rankings) -> np.ndarray:
  """Return which queries share no label with any item, bool [Q]."""
  return rankings.read(hist).total_relevant == 0


def _divide(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
  """Divide in float64, with 0 where the denominator is 0."""
  shape = np.broadcast_shapes(np.shape(numerator), np.shape(denominator))
  return np.divide(
    numerator, denominator, out=np.zeros(shape), where=denominator != 0
  )


def _relative_gains(ranking: Rankings) -> np.ndarray:
  """Return (2^s - 1) / 2^largest, float64 [Q, S+1], which cannot overflow.

  `largest` is the largest overlap of a query with any item; higher overlaps,
  which do not occur, get the same gain.
  """
  occurs = ranking.cells.any(axis=1)
  largest = np.max(np.where(occurs, ranking.overlaps, 0), axis=1, keepdims=True)
  return np.exp2(np.minimum(ranking.overlaps - largest, 0)) - np.exp2(-largest)


def _cut(ranking: Rankings, k: int | None) -> int:
  """Return a checked cut-off; None becomes the size of the database."""
  if k is None:
    return ranking.num_items
  if isinstance(k, bool) or not isinstance(k, (int, np.integer)) or k < 1:
    raise errors.UserError(
      f"The cut-off is {k!r}; give a whole number of at least 1, or None for"
      " the whole database."
    )
  return int(k)


def _at(values: np.ndarray, buckets: np.ndarray) -> np.ndarray:
  """Index one bucket per query: [Q, D, ...] and [Q] -> [Q, ...]."""
  return values[np.arange(len(values)), buckets]


def _ball(hist: np.ndarray | Rankings, radius: int) -> np.ndarray:
  """Count items within a radius by overlap, float64 [Q, S+1]."""
  if isinstance(radius, bool) or not isinstance(radius, (int, np.integer)):
    raise errors.UserError(f"The radius is {radius!r}; give a whole number.")
  if radius < 0:
    raise errors.UserError(f"The radius is {radius}; give 0 or more.")
  return rankings.read(hist).cells[:, : radius + 1].sum(axis=1)


def _gain_in_first(ranking: Rankings, k: int, ties: str) -> np.ndarray:
  """Sum overlaps over the first k ranks, float64 [Q]."""
  k = min(k, ranking.num_items)
  edge = ranking.edge(k)
  slots = k - _at(ranking.items_before, edge)
  before = _at(ranking.gain_before, edge)
  if ties == "expected":
    return before + slots * _at(ranking.gain, edge) / _at(ranking.items, edge)
  first = _at(getattr(ranking, ties)[0], edge)
  taken = np.clip(k - first, 0, _at(ranking.cells, edge))
  return before + taken @ ranking.overlaps


def _gain_at_relevant(
  ranking: Rankings, reach: np.ndarray, ties: str
) -> np.ndarray:
  """Sum ACG@rank over the relevant ranks up to `reach`, float64 [Q] each.

  Rank N + u of a bucket holds a relevant item in p of n orders; then the u - 1
  ranks above it in the bucket hold (u - 1)(p - 1)/(n - 1) others, of mean gain
  G/p. If overlaps order the bucket, each cell is a run of equal items.
  """
  buckets = slice(
    ranking.first(min(int(reach.max(initial=1)), ranking.num_items))
  )
  if ties == "expected":
    items = ranking.items[:, buckets]
    before = ranking.items_before[:, buckets]
    relevant = ranking.relevant[:, buckets]
    gain = ranking.gain[:, buckets]
    slots = np.clip(reach[:, None] - before, 0, items)
    inverse = harmonic.difference(before, slots)
    rising = slots - (before + 1) * inverse  # sum of (u - 1) / (N + u)
    pairs = (relevant - 1) / np.maximum(items - 1, 1)
    fixed = relevant * ranking.gain_before[:, buckets] + gain
    return _divide(fixed * inverse + gain * pairs * rising, items).sum(axis=1)
  before, gain = (x[:, buckets, 1:] for x in getattr(ranking, ties))
  counts = np.clip(
    reach[:, None, None] - before, 0, ranking.cells[:, buckets, 1:]
  )
  # Most cells are empty.
  queries, positions, overlaps = np.nonzero(counts)
  chosen = queries, positions, overlaps
  sums = harmonic.run(
    before[chosen], gain[chosen], counts[chosen], overlaps + 1.0
  )
  return np.bincount(queries, sums, minlength=len(reach))


def _over_retrieved(ranking: Rankings, k: int, ties: str) -> np.ndarray:
  """Weighted AP@k over the relevant items retrieved, float64 [Q]; k < N."""
  edge = ranking.edge(k)
  before = _at(ranking.items_before, edge)
  cut = cutoff.Cut(
    score=_gain_at_relevant(ranking, before, ties),
    relevant=_at(ranking.relevant_before, edge),
    gain=_at(ranking.gain_before, edge),
    items=before,
    edge=_at(ranking.cells, edge),
    slots=k - before,
    chances=ranking.cut_chances(k) if ties == "expected" else None,
  )
  return getattr(cutoff, ties)(cut)
