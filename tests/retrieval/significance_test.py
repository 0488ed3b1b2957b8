"""Intervals and tests of differences against SciPy and hand computation."""

import math

import numpy as np
import pytest
from scipy import stats

from dsh_jax.retrieval import significance


@pytest.mark.parametrize("count", [2, 3, 5, 30])
def test_t_interval_against_scipy(count):
  values = np.random.default_rng(count).normal(0.7, 0.02, count)
  mean, half = significance.t_interval(values)
  low, high = stats.t.interval(
    0.95, count - 1, loc=values.mean(), scale=stats.sem(values)
  )
  np.testing.assert_allclose([mean - half, mean + half], [low, high])


def test_t_interval_of_one_value_is_unknown():
  mean, half = significance.t_interval([0.5])
  assert mean == 0.5 and math.isnan(half)


def test_bootstrap_against_scipy():
  differences = np.random.default_rng(1).exponential(1.0, (1, 200)) - 0.9
  low, high = significance.paired_bootstrap(differences, num_resamples=20_000)
  reference = stats.bootstrap(
    (differences[0],),
    np.mean,
    n_resamples=20_000,
    method="percentile",
    rng=np.random.default_rng(2),
  ).confidence_interval
  width = reference.high - reference.low
  assert low[0] == pytest.approx(reference.low, abs=0.05 * width)
  assert high[0] == pytest.approx(reference.high, abs=0.05 * width)


def test_bootstrap_rows_are_paired_and_repeatable():
  rng = np.random.default_rng(3)
  one = rng.normal(size=50)
  low, high = significance.paired_bootstrap(np.stack([one, one, -one]))
  assert low[0] == low[1]
  assert low[0] == pytest.approx(-high[2])
  again, _ = significance.paired_bootstrap(np.stack([one, one, -one]))
  np.testing.assert_array_equal(low, again)


def _draw(rng, effect, num_seeds, num_queries, queries):
  """Return scores [seeds,Q] with effects of seeds, queries and both."""
  own = rng.normal(0, 0.03, num_queries)  # Method by query.
  seeds = rng.normal(0, 0.02, (num_seeds, 1))
  noise = rng.normal(0, 0.05, (num_seeds, num_queries))
  return effect + queries + own + seeds + noise


@pytest.mark.parametrize("num_seeds", [(2, 3), (8, 8)])
def test_compare_calls_few_equal_methods_different(num_seeds):
  rng = np.random.default_rng(5)
  inside = significant = 0
  for _ in range(1000):
    queries = rng.normal(0, 0.2, 60)
    one, other = (_draw(rng, 0.5, n, 60, queries) for n in num_seeds)
    difference = significance.compare(one, other)
    significant += difference.p_value < 0.05
    inside += abs(difference.mean) <= difference.half_width
  assert significant == 1000 - inside  # Interval and test agree.
  # It errs towards no difference, but not by much.
  assert 0.005 < significant / 1000 < 0.065


def test_compare_finds_a_difference():
  rng = np.random.default_rng(6)
  queries = rng.normal(0, 0.2, 500)
  one, other = (_draw(rng, mean, 8, 500, queries) for mean in (0.6, 0.5))
  difference = significance.compare(one, other)
  assert difference.p_value < 1e-4
  assert difference.mean == pytest.approx(0.1, abs=difference.half_width)
  assert (difference.num_seeds, difference.num_queries) == ((8, 8), 500)


def test_compare_of_equal_queries_or_equal_seeds_is_a_t_test():
  rng = np.random.default_rng(7)
  one, other = rng.normal(0, 1, 9), rng.normal(1, 2, 5)
  # Equal queries, or one column: Welch's test over seeds.
  expected = stats.ttest_ind(one, other, equal_var=False)
  for num_queries in (1, 30):
    difference = significance.compare(
      np.repeat(one[:, None], num_queries, 1),
      np.repeat(other[:, None], num_queries, 1),
    )
    assert difference.p_value == pytest.approx(expected.pvalue)
  # Equal seeds: the paired test over queries.
  one, other = rng.normal(0, 1, 40), rng.normal(0.3, 1, 40)
  difference = significance.compare(np.stack([one] * 4), np.stack([other] * 3))
  expected = stats.ttest_rel(one, other)
  assert difference.p_value == pytest.approx(expected.pvalue)
  interval = expected.confidence_interval(0.95)
  low = difference.mean - difference.half_width
  assert low == pytest.approx(interval.low)


def test_compare_of_single_seeds_claims_nothing():
  difference = significance.compare(np.ones((1, 9)), np.zeros((3, 9)))
  assert difference.mean == 1.0
  assert math.isnan(difference.p_value)


def test_holm_by_hand():
  # In rising order, times 3, 2 and 1, made non-decreasing.
  assert significance.holm([0.01, 0.04, 0.03]) == pytest.approx(
    [0.03, 0.06, 0.06]
  )
  corrected = significance.holm([math.nan, 0.9, 0.6])
  assert math.isnan(corrected[0])
  assert corrected[1:] == [1.0, 1.0]


@pytest.mark.parametrize("num_seeds", [1, 4])
def test_best_and_equal(num_seeds):
  rng = np.random.default_rng(4)
  easy = rng.uniform(0, 1, 400)  # An effect of the query, on all methods.
  shape = num_seeds, 400
  scores = {
    "good": easy + 0.10 + rng.normal(0, 0.01, shape),
    "same": easy + 0.10 + rng.normal(0, 0.01, shape),
    "bad": easy + 0.08 + rng.normal(0, 0.01, shape),
  }
  best, equal = significance.best_and_equal(scores)
  # Unpaired intervals have a width of 0.06.
  assert {best} | equal == {"good", "same"}


def test_best_alone_and_ties():
  assert significance.best_and_equal({"a": np.ones((2, 3))}) == ("a", set())
  for num_seeds in (1, 2):
    both = {name: np.ones((num_seeds, 3)) for name in "ab"}
    assert significance.best_and_equal(both) == ("a", {"b"})
