"""AP@k divided by the number of relevant items retrieved, under ties.

The cut-off keeps t slots of the bucket of rank k. The number m of relevant
items in them enters the denominator, P + m, so the mean over tie orders is a
mean over m. The best and the worst order are not simply sorted: a relevant item
late in the list can lower the average.
"""

import dataclasses
from collections.abc import Callable

import numpy as np

from dsh_jax.retrieval import harmonic


@dataclasses.dataclass(frozen=True)
class Cut:
  """Rankings cut at rank k; all float64.

  Attributes:
    score: [Q], sum of ACG@rank at the relevant ranks before the cut bucket.
    relevant: [Q], P, relevant items before it.
    gain: [Q], C, sum of overlaps before it.
    items: [Q], N, items before it.
    edge: [Q, S+1], items of the cut bucket by overlap.
    slots: [Q], t, its ranks that count: 1 to all of them.
    chances: Numbers of relevant items in the slots [Q, V] and their
      probabilities [Q, V], see `hypergeometric.weights`; for `expected` only.
  """

  score: np.ndarray
  relevant: np.ndarray
  gain: np.ndarray
  items: np.ndarray
  edge: np.ndarray
  slots: np.ndarray
  chances: tuple[np.ndarray, np.ndarray] | None = None

  @property
  def fewest(self) -> np.ndarray:
    """Fewest relevant items that the slots can hold, [Q]."""
    return np.maximum(0, self.slots - self.edge[:, 0])

  @property
  def most(self) -> np.ndarray:
    """Most relevant items that the slots can hold, [Q]."""
    return np.minimum(self.slots, self.edge[:, 1:].sum(axis=1))

  def average(self, added: np.ndarray, m: np.ndarray) -> np.ndarray:
    """Return (score + added) / (relevant + m), [Q]; 0 if nothing is retrieved.

    `added` is the sum of ACG@rank over the m relevant ranks of the slots.
    """
    count = self.relevant + m
    return np.divide(
      self.score + added, count, out=np.zeros_like(count), where=count > 0
    )


def expected(cut: Cut) -> np.ndarray:
  """Return the average over all orders of the cut bucket, [Q].

  An order that retrieves nothing relevant counts as 0.
  """
  slots = cut.slots
  marked = cut.edge[:, 1:].sum(axis=1)
  overlaps = np.arange(cut.edge.shape[1])
  mean_gain = cut.edge @ overlaps / np.maximum(marked, 1)
  values, probabilities = cut.chances
  inverse = harmonic.difference(cut.items, slots)
  rising = slots - (cut.items + 1) * inverse  # sum of (u - 1) / (N + u)
  # Given m: what one relevant item adds, and what each pair of them adds.
  single = (cut.gain + mean_gain) * inverse / slots
  pair = mean_gain * rising / (slots * np.maximum(slots - 1, 1))
  total = values - 1
  total *= pair[:, None]
  total += single[:, None]
  total *= values
  total += cut.score[:, None]
  count = values + cut.relevant[:, None]
  np.divide(total, count, out=total, where=count > 0)
  return np.einsum("qv,qv->q", total, probabilities)


def optimistic(cut: Cut) -> np.ndarray:
  """Return the highest value that an order of the cut bucket gives, [Q].

  For a given m the best order puts the m relevant items of highest gain first.
  The m-th of them adds the term g_m = (C + T_m) / (N + m), T_m = the m highest
  gains. g rises and then falls, so the average falls, rises and falls (or a
  part of that): it is highest at the fewest m, or at the last m that raises
  it, found by bisection.
  """
  ordered = cut.edge[:, :0:-1]
  each = np.arange(cut.edge.shape[1], dtype=np.float64)[:0:-1]
  earlier = np.cumsum(ordered, axis=1) - ordered

  def term(m):
    taken = np.clip(m[:, None] - earlier, 0, ordered)
    return (cut.gain + taken @ each) / np.maximum(cut.items + m, 1)

  def average(m):
    taken = np.clip(m[:, None] - earlier, 0, ordered)
    return cut.average(_runs(cut.items, cut.gain, taken, each), m)

  def raises_term(m):
    last = each[np.argmax(earlier + ordered >= m[:, None], axis=1)]
    return last >= term(m - 1)

  def raises_average(m):
    return term(m) >= average(m - 1)

  peak = _last_true(raises_term, np.zeros_like(cut.most), cut.most)
  last = _last_true(raises_average, np.maximum(peak, cut.fewest), cut.most)
  return np.maximum(average(cut.fewest), average(last))


def pessimistic(cut: Cut) -> np.ndarray:
  """Return the lowest value that an order of the cut bucket gives, [Q].

  For a given m the worst order puts the m relevant items of lowest gain last,
  in rising order. The increase of the sum from one more item never falls with
  m, so the average falls and then rises; bisection finds its lowest point.
  """
  ordered = cut.edge[:, 1:]
  each = np.arange(1, cut.edge.shape[1], dtype=np.float64)
  earlier = np.cumsum(ordered, axis=1) - ordered

  def average(m):
    taken = np.clip(m[:, None] - earlier, 0, ordered)
    start = cut.items + cut.slots - m
    return cut.average(_runs(start, cut.gain, taken, each), m)

  def lowers(m):
    return average(m) < average(m - 1)

  return average(_last_true(lowers, cut.fewest, cut.most))


def _runs(
  items: np.ndarray, gain: np.ndarray, counts: np.ndarray, each: np.ndarray
) -> np.ndarray:
  """Sum ACG@rank over consecutive runs of items of equal gain, [Q].

  `items` [Q] with the sum of gains `gain` [Q] precede runs of `counts` [Q, S]
  items, in rank order, of gains `each` [S].
  """
  order = np.triu(np.ones((len(each),) * 2), 1)
  before = items[:, None] + counts @ order
  total = gain[:, None] + counts @ (each[:, None] * order)
  return harmonic.run(before, total, counts, each[None, :]).sum(axis=1)


def _last_true(
  test: Callable[[np.ndarray], np.ndarray], low: np.ndarray, high: np.ndarray
) -> np.ndarray:
  """Bisect for the last whole number in (low, high] where `test` holds, [Q].

  The test is true up to some number and false after it; where it never holds,
  the result is low.
  """
  while np.any(low < high):
    middle = np.ceil((low + high) / 2)
    holds = test(np.maximum(middle, 1)) & (low < high)
    high = np.where(holds, high, np.where(low < high, middle - 1, high))
    low = np.where(holds, middle, low)
  return low
