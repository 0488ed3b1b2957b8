"""Rankings as tied buckets: what every metric reads off a joint histogram."""

import dataclasses

import numpy as np

from dsh_jax import errors

TIES = ("expected", "optimistic", "pessimistic")


@dataclasses.dataclass(frozen=True)
class Buckets:
  """Tied buckets of every query in rank order; all float64 [Q, M].

  Attributes:
    items: n_d, items in the bucket.
    relevant: p_d, items that share a label with the query.
    gain: G_d, sum of the gains in the bucket.
    items_before: N, items in earlier buckets.
    relevant_before: P.
    gain_before: C.
  """

  items: np.ndarray
  relevant: np.ndarray
  gain: np.ndarray
  items_before: np.ndarray
  relevant_before: np.ndarray
  gain_before: np.ndarray

  def slots(self, k: int) -> np.ndarray:
    """Returns how many of a bucket's ranks are at most k, float64 [Q, M]."""
    return np.clip(k - self.items_before, 0, self.items)


def before(values: np.ndarray) -> np.ndarray:
  """Sums what comes earlier along the last axis."""
  sums = np.cumsum(values, axis=-1)
  sums -= values
  return sums


def create(hist: np.ndarray, gains: np.ndarray, ties: str) -> Buckets:
  """Creates the buckets of a histogram.

  "expected" keeps one bucket a distance. The other two order the items inside
  a distance by overlap, so every overlap becomes a bucket of equal items:
  highest first if "optimistic", lowest first if "pessimistic".

  Args:
    hist: int64 [Q, D, S+1].
    gains: float64 [S+1], gain of an item by its overlap, rising.
    ties: One of `TIES`.
  """
  cells = hist.astype(np.float64)
  if ties == "expected":
    items = cells.sum(axis=2)
    relevant = items - cells[:, :, 0]
    gain = cells @ gains
  else:
    step = -1 if ties == "optimistic" else 1
    items = cells[:, :, ::step].reshape(len(hist), -1)
    overlaps = np.tile(np.arange(hist.shape[2])[::step], hist.shape[1])
    relevant = items * (overlaps > 0)[None, :]
    gain = items * gains[overlaps][None, :]
  return Buckets(
    items, relevant, gain, before(items), before(relevant), before(gain)
  )


def binary(hist: np.ndarray) -> np.ndarray:
  """Forgets how many labels are shared: int64 [Q, D, S+1] -> [Q, D, 2]."""
  unrelated = hist[:, :, 0]
  return np.stack([unrelated, hist.sum(axis=2) - unrelated], axis=2)


def first_ranks(hist: np.ndarray, k: int) -> np.ndarray:
  """Drops the distances that lie beyond rank k for every query."""
  items = hist.sum(axis=2)
  needed = np.any(before(items) < k, axis=0)
  return hist[:, : max(1, int(np.count_nonzero(needed)))]


def check(hist: np.ndarray, ties: str) -> np.ndarray:
  """Checks a histogram and the name of a tie mode.

  Args:
    hist: Integers [Q, D, S+1].
    ties: One of `TIES`.

  Returns:
    The histogram as a NumPy array.

  Raises:
    UserError: If either is not as said.
  """
  hist = np.asarray(hist)
  if hist.ndim != 3 or not np.issubdtype(hist.dtype, np.integer):
    raise errors.UserError(
      f"The histogram is {hist.dtype} of shape {hist.shape}; give integers"
      " [queries, distances, overlaps], as histogram.joint_histogram does."
    )
  if ties not in TIES:
    raise errors.unknown("tie mode", ties, TIES, "ties")
  return hist
