"""Means over the number of relevant items in a tied bucket that k cuts."""

import numpy as np


def weights(
  population: np.ndarray, marked: np.ndarray, drawn: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
  """Probabilities of how many marked items a draw without repetition holds.

  Only values within ten standard deviations (and 40 more) of the mode are
  listed; Bernstein's inequality puts less than 1e-20 outside.

  Args:
    population: float64 [Q], whole numbers: items in the bucket.
    marked: float64 [Q]: relevant items among them.
    drawn: float64 [Q]: items drawn, 0 < drawn < population.

  Returns:
    values: float64 [Q, V], numbers of relevant items among the drawn.
    probabilities: float64 [Q, V]; rows add up to 1, and are 0 where `values`
      leaves the possible range.
  """
  lowest = np.maximum(0, drawn - (population - marked))
  highest = np.minimum(drawn, marked)
  share = marked / population
  spread = drawn * share * (1 - share) * (population - drawn)
  spread = np.sqrt(spread / np.maximum(population - 1, 1))
  reach = np.ceil(10 * spread) + 40
  mode = np.floor((drawn + 1) * (marked + 1) / (population + 2))
  first = np.maximum(lowest, mode - reach)
  last = np.minimum(highest, mode + reach)
  num_values = int(np.max(last - first, initial=0)) + 1
  values = first[:, None] + np.arange(num_values)
  # The logarithm of a ratio of neighbours is small near the mode, so summing
  # from there keeps the digits that factorials of large numbers would lose.
  previous = values[:, :-1]
  rest = (population - marked - drawn)[:, None]
  possible = values[:, 1:] <= last[:, None]
  up = (marked[:, None] - previous) * (drawn[:, None] - previous)
  down = (previous + 1) * (rest + previous + 1)
  steps = np.log(np.where(possible, up, 1) / np.where(possible, down, 1))
  logs = np.zeros_like(values)
  np.cumsum(steps, axis=1, out=logs[:, 1:])
  at_mode = np.clip(mode - first, 0, num_values - 1).astype(np.int64)
  logs -= np.take_along_axis(logs, at_mode[:, None], axis=1)
  likely = np.where(values <= last[:, None], np.exp(logs), 0.0)
  return values, likely / likely.sum(axis=1, keepdims=True)
