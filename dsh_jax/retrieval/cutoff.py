"""AP@k over the relevant items that were retrieved, under ties at rank k.

With this normaliser the number m of relevant items among the t slots that the
cut leaves of its bucket sits in the denominator, P + m, so the mean over tie
orders is a mean over m, and the best and the worst order are not simply the
sorted ones: a relevant item late in the list can lower the average.
"""

from collections.abc import Callable

import numpy as np

from dsh_jax.retrieval import harmonic, hypergeometric


def expected(
  score: np.ndarray,
  relevant: np.ndarray,
  gain: np.ndarray,
  items: np.ndarray,
  edge: np.ndarray,
  gains: np.ndarray,
  slots: np.ndarray,
) -> np.ndarray:
  """Averages over all orders of the bucket that the cut goes through.

  Args:
    score: float64 [Q], sum of precisions (or ACGs) at the relevant ranks of
      the buckets that lie before the cut as a whole.
    relevant: float64 [Q], P, relevant items in them.
    gain: float64 [Q], C, sum of their gains.
    items: float64 [Q], N, their items.
    edge: float64 [Q, S+1], items of the cut bucket by overlap.
    gains: float64 [S+1], gain by overlap.
    slots: float64 [Q], t, ranks of the cut bucket that count, >= 1.

  Returns:
    float64 [Q]. An order that retrieves nothing relevant counts as 0.
  """
  size = edge.sum(axis=1)
  marked = size - edge[:, 0]
  mean_gain = edge @ gains / np.maximum(marked, 1)
  values, probabilities = hypergeometric.weights(size, marked, slots)
  inverse = harmonic.difference(items, slots)
  rising = slots - (items + 1) * inverse  # sum of (u - 1) / (N + u)
  linear = (gain + mean_gain) * inverse / slots
  square = mean_gain * rising / (slots * np.maximum(slots - 1, 1))
  total = score[:, None] + values * (
    linear[:, None] + square[:, None] * (values - 1)
  )
  count = relevant[:, None] + values
  scores = np.divide(total, count, out=np.zeros_like(total), where=count > 0)
  return np.sum(scores * probabilities, axis=1)


def optimistic(
  score: np.ndarray,
  relevant: np.ndarray,
  gain: np.ndarray,
  items: np.ndarray,
  edge: np.ndarray,
  gains: np.ndarray,
  slots: np.ndarray,
) -> np.ndarray:
  """Finds the highest value that an order of the cut bucket can give.

  For a given m the best order puts the m relevant items of highest gain first.
  The m-th of them adds the term g_m = (C + T_m) / (N + m), T_m = the m highest
  gains. g rises and then falls, so the average falls, rises and falls (or a
  part of that): it is highest at the fewest m, or at the last m that raises
  it, found by bisection. Arguments and result as in `expected`.
  """
  fewest = np.maximum(0, slots - edge[:, 0])
  most = np.minimum(slots, edge[:, 1:].sum(axis=1))
  ordered = edge[:, :0:-1]
  worth = gains[:0:-1]
  earlier = np.cumsum(ordered, axis=1) - ordered

  def taken(m):
    return np.clip(m[:, None] - earlier, 0, ordered)

  def term(m):
    return (gain + taken(m) @ worth) / np.maximum(items + m, 1)

  def average(m):
    counts = taken(m)
    return _average(score + _terms(items, gain, counts, worth), relevant + m)

  def raises_term(m):
    last = worth[np.argmax(earlier + ordered >= m[:, None], axis=1)]
    return last >= term(m - 1)

  def raises_average(m):
    return term(m) >= average(m - 1)

  peak = _last_true(raises_term, np.zeros_like(most), most)
  start = np.maximum(peak, fewest)
  # At the start itself the term may be on its rising side.
  last = _last_true(raises_average, start, most)
  return np.maximum(average(fewest), average(last))


def pessimistic(
  score: np.ndarray,
  relevant: np.ndarray,
  gain: np.ndarray,
  items: np.ndarray,
  edge: np.ndarray,
  gains: np.ndarray,
  slots: np.ndarray,
) -> np.ndarray:
  """Finds the lowest value that an order of the cut bucket can give.

  For a given m the worst order puts the m relevant items of lowest gain last,
  in rising order. What one more item adds to the sum never falls with m, so
  the average falls and then rises, and its lowest point is found by bisection.
  Arguments and result as in `expected`.
  """
  fewest = np.maximum(0, slots - edge[:, 0])
  most = np.minimum(slots, edge[:, 1:].sum(axis=1))
  ordered = edge[:, 1:]
  worth = gains[1:]
  earlier = np.cumsum(ordered, axis=1) - ordered

  def average(m):
    counts = np.clip(m[:, None] - earlier, 0, ordered)
    return _average(
      score + _terms(items + slots - m, gain, counts, worth), relevant + m
    )

  def lowers(m):
    return average(m) < average(m - 1)

  return average(_last_true(lowers, fewest, most))


def _terms(
  start: np.ndarray, gain: np.ndarray, counts: np.ndarray, worth: np.ndarray
) -> np.ndarray:
  """Sums ACG over relevant items that follow each other without gaps.

  Args:
    start: float64 [Q], items before the first of them.
    gain: float64 [Q], sum of gains before.
    counts: float64 [Q, S], items by overlap, in rank order.
    worth: float64 [S], their gains.
  """
  before = start[:, None] + np.cumsum(counts, axis=1) - counts
  each = counts * worth[None, :]
  total = gain[:, None] + np.cumsum(each, axis=1) - each
  # (total + worth j) / (before + j) summed over j = 1 ... counts.
  inverse = harmonic.difference(before, counts)
  return np.sum(each + (total - worth[None, :] * before) * inverse, axis=1)


def _average(total: np.ndarray, count: np.ndarray) -> np.ndarray:
  """Divides; nothing retrieved counts as 0."""
  return np.divide(total, count, out=np.zeros_like(total), where=count > 0)


def _last_true(
  test: Callable[[np.ndarray], np.ndarray], low: np.ndarray, high: np.ndarray
) -> np.ndarray:
  """Bisects for the last whole number in (low, high] where `test` holds.

  Args:
    test: True up to some number, false after it; called with float64 [Q].
    low: float64 [Q], returned where the test holds nowhere.
    high: float64 [Q], >= low.
  """
  while np.any(low < high):
    middle = np.ceil((low + high) / 2)
    holds = test(np.maximum(middle, 1)) & (low < high)
    high = np.where(holds, high, np.where(low < high, middle - 1, high))
    low = np.where(holds, middle, low)
  return low
