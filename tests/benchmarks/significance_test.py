"""Tests of benchmarks.tables.significance against scipy and known numbers."""

import math

import numpy as np
import pytest
from scipy import stats

from benchmarks.tables import significance


def test_t_interval_by_hand():
  # Mean 2, standard deviation 1, quantile 4.303 of two degrees of freedom.
  mean, half = significance.t_interval([1.0, 2.0, 3.0])
  assert mean == 2.0
  assert half == pytest.approx(4.30265 / math.sqrt(3), rel=1e-5)


@pytest.mark.parametrize("count", [2, 3, 5, 30])
def test_t_interval_against_scipy(count):
  values = np.random.default_rng(count).normal(0.7, 0.02, count)
  mean, half = significance.t_interval(values)
  low, high = stats.t.interval(
    0.95, count - 1, loc=values.mean(), scale=stats.sem(values)
  )
  np.testing.assert_allclose([mean - half, mean + half], [low, high])


def test_t_interval_of_one_value_is_open():
  mean, half = significance.t_interval([0.5])
  assert mean == 0.5
  assert math.isnan(half)


def test_t_interval_holds_the_mean_as_often_as_it_says():
  rng = np.random.default_rng(0)
  inside = 0
  for _ in range(2000):
    mean, half = significance.t_interval(rng.normal(3.0, 2.0, 3))
    inside += abs(mean - 3.0) <= half
  assert inside / 2000 == pytest.approx(0.95, abs=0.015)


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


def test_best_and_equal():
  rng = np.random.default_rng(4)
  hard = rng.uniform(0, 1, 400)  # How hard a query is, shared by methods.
  scores = {
    "good": hard + 0.10 + rng.normal(0, 0.01, 400),
    "same": hard + 0.10 + rng.normal(0, 0.01, 400),
    "bad": hard + 0.08 + rng.normal(0, 0.01, 400),
  }
  best, equal = significance.best_and_equal(scores)
  # Unpaired intervals of width 0.06 could not tell "bad" from the others.
  assert {best} | equal == {"good", "same"}


def test_best_alone_and_ties():
  assert significance.best_and_equal({"a": np.ones(3)}) == ("a", set())
  both = {"a": np.ones(3), "b": np.ones(3)}
  assert significance.best_and_equal(both) == ("a", {"b"})
