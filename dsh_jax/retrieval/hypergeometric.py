"""Distribution of the number of relevant items in a tied bucket cut at k."""

import numpy as np


def weights(
  population: np.ndarray, marked: np.ndarray, drawn: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
  """Return the hypergeometric distribution of every query.

  Values more than eight standard deviations plus 40 from the mode are left out;
  by Bernstein's inequality their probability is below 1e-13 in all.
  `scipy.stats.hypergeom.pmf` agrees to 1e-14 but is much slower.

  Args:
    population: float64 [Q], whole numbers >= 1: items in the bucket.
    marked: float64 [Q]: relevant items among them.
    drawn: float64 [Q]: items drawn, 0 <= drawn <= population.

  Returns:
    values: float64 [Q, V], numbers of relevant items among the drawn.
    probabilities: float64 [Q, V]; rows add up to 1, impossible values have 0.
  """
  rest = population - marked - drawn
  lowest = np.maximum(0, -rest)
  highest = np.minimum(drawn, marked)
  share = marked / population
  spread = drawn * share * (1 - share) * (population - drawn)
  spread = np.sqrt(spread / np.maximum(population - 1, 1))
  reach = np.ceil(8 * spread) + 40
  mode = np.floor((drawn + 1) * (marked + 1) / (population + 2))
  first = np.maximum(lowest, mode - reach)
  last = np.minimum(highest, mode + reach)
  values = first[:, None] + np.arange(np.max(last - first, initial=0) + 1)
  # A product of ratios of neighbours keeps the digits that large factorials
  # lose. The ratio after the highest value is 0, and so are all later products.
  # From 1e-280 the products can rise by 588 orders of magnitude.
  previous = values[:, :-1]
  ratios = marked[:, None] - previous
  ratios *= drawn[:, None] - previous
  ratios /= (previous + 1) * (rest[:, None] + previous + 1)
  likely = np.empty_like(values)
  likely[:, 0] = 1e-280
  likely[:, 1:] = ratios
  np.cumprod(likely, axis=1, out=likely)
  likely /= likely.sum(axis=1, keepdims=True)
  return values, likely
