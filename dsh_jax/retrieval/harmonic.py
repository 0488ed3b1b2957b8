"""Sums over ranks in closed form."""

import functools

import numpy as np

# Below this rank harmonic numbers come from a table, above from their
# asymptotic series, whose first missing term is then 1 / (240 * 64^8) < 2e-17.
_SMALL = 64
_TABLE = (
  np.cumsum(
    1 / np.maximum(np.arange(2 * _SMALL + 1, dtype=np.longdouble), 1)
  ).astype(np.float64)
  - 1
)


def _harmonic(ranks: np.ndarray) -> np.ndarray:
  """Return H(n) = 1 + 1/2 + ... + 1/n, float64, for n >= 0."""
  large = np.maximum(ranks, _SMALL)
  inverse = 1 / large
  square = inverse * inverse
  series = square * (1 / 12 - square * (1 / 120 - square / 252))
  asymptotic = np.log(large) + np.euler_gamma + inverse / 2 - series
  table = _TABLE[np.minimum(ranks, 2 * _SMALL).astype(np.int64)]
  return np.where(ranks <= 2 * _SMALL, table, asymptotic)


def difference(start: np.ndarray, count: np.ndarray) -> np.ndarray:
  """Sum 1 / rank over the ranks start + 1 ... start + count.

  The relative error stays near 1e-15 even if `count` is much smaller than
  `start`, where a difference of harmonic numbers loses six digits.

  Both are float64 arrays of one shape with whole numbers >= 0.
  """
  first = np.maximum(start, _SMALL)
  a = 1 / first
  b = 1 / (first + count)
  total = a + b
  squares = a * a + b * b
  # (b^6 - a^6) / (b^2 - a^2) = squares^2 - a^2 b^2
  series = 1 / 12 - squares / 120 + (squares**2 - (a * b) ** 2) / 252
  # b - a without cancellation is -count * a * b.
  total = np.log1p(count * a) - count * a * b * (0.5 - total * series)
  small = start < _SMALL
  if np.any(small):
    near, steps = start[small], count[small]
    total[small] = _harmonic(near + steps) - _harmonic(near)
  return total


def run(
  items: np.ndarray, gain: np.ndarray, count: np.ndarray, each: np.ndarray
) -> np.ndarray:
  """Sum ACG@rank over a run of `count` items of gain `each`.

  `items` with the sum of gains `gain` precede the run. The result is the sum
  over u = 1 ... count of (gain + each u) / (items + u). All are float64 arrays.
  """
  return each * count + (gain - each * items) * difference(items, count)


@functools.lru_cache(maxsize=16)
def discount_sums(num_ranks: int) -> np.ndarray:
  """Return running sums of 1 / log2(rank + 1), read-only because cached.

  Entry n of float64 [num_ranks + 1] is the sum over the ranks 1 ... n.
  """
  discounts = 1 / np.log2(np.arange(2, num_ranks + 2))
  sums = np.zeros(num_ranks + 1)
  sums[1:] = np.cumsum(discounts, dtype=np.longdouble)
  sums.flags.writeable = False
  return sums
