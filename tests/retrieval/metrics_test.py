"""The metrics against all tie orders and against other code."""

import functools
import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
import sklearn.metrics

from dsh_jax import errors
from dsh_jax.retrieval import harmonic, hypergeometric, metrics, rankings

FUNCTIONS = {
  "precision": metrics.precision,
  "acg": metrics.acg,
  "recall": metrics.recall,
  "ndcg": metrics.ndcg,
}
for _normalizer in metrics.NORMALIZERS:
  FUNCTIONS[f"ap {_normalizer}"] = functools.partial(
    metrics.average_precision, normalizer=_normalizer
  )
  FUNCTIONS[f"wap {_normalizer}"] = functools.partial(
    metrics.weighted_average_precision, normalizer=_normalizer
  )


def score_orders(orders, k):
  """Score orders of overlaps, [orders, N], by the definitions."""
  size = orders.shape[1]
  ideal = np.sort(orders[0])[::-1][:k]
  in_all = np.count_nonzero(orders[0])
  top = orders[:, :k].astype(np.float64)
  relevant = top > 0
  found = relevant.sum(axis=1)
  ranks = np.arange(1, min(k, size) + 1)
  discounts = np.log2(ranks + 1)
  ideal_dcg = np.sum((2.0**ideal - 1) / discounts)
  precisions = np.cumsum(relevant, axis=1) / ranks * relevant
  gains = np.cumsum(top, axis=1) / ranks * relevant
  dcg = np.sum((2.0**top - 1) / discounts, axis=1)
  return {
    "precision": found / k,
    "acg": top.sum(axis=1) / k,
    "recall": found / max(in_all, 1),
    "ndcg": dcg / ideal_dcg if in_all else dcg,
    "ap relevant": precisions.sum(axis=1) / max(min(k, in_all), 1),
    "wap relevant": gains.sum(axis=1) / max(min(k, in_all), 1),
    "ap retrieved": precisions.sum(axis=1) / np.maximum(found, 1),
    "wap retrieved": gains.sum(axis=1) / np.maximum(found, 1),
  }


def all_orders(hist):
  """List every distinct order of overlaps that the distances allow."""
  buckets = [
    sorted(set(itertools.permutations(np.repeat(np.arange(len(row)), row))))
    for row in hist
  ]
  return np.array([sum(order, ()) for order in itertools.product(*buckets)])


def random_problems(count, seed):
  """Yield histograms of so few items that all orders can be listed."""
  rng = np.random.default_rng(seed)
  while count:
    num_items = rng.integers(1, 10)
    hist = np.zeros((rng.integers(1, 5), rng.integers(1, 5)), np.int64)
    places = tuple(rng.integers(0, size, num_items) for size in hist.shape)
    np.add.at(hist, places, 1)
    arrangements = math.prod(
      math.factorial(int(row.sum()))
      // math.prod(math.factorial(int(cell)) for cell in row)
      for row in hist
    )
    if arrangements <= 2000:
      count -= 1
      yield hist


def test_every_metric_equals_the_enumeration_of_all_tie_orders():
  summaries = {"expected": np.mean, "optimistic": np.max, "pessimistic": np.min}
  worst = 0.0
  checked = 0
  for hist in random_problems(200, seed=0):
    orders = all_orders(hist)
    size = orders.shape[1]
    ranking = rankings.Rankings(hist[None])  # Shared, as in evaluation.
    for k in range(1, size + 2):
      for name, values in score_orders(orders, k).items():
        for ties, summary in summaries.items():
          score = FUNCTIONS[name](ranking, k, ties=ties)
          worst = max(worst, abs(score[0] - summary(values)))
          checked += 1
  assert checked > 20000
  assert worst < 1e-12


def test_no_cut_off_means_the_whole_database():
  hist = np.random.default_rng(3).integers(0, 4, (6, 5, 3))
  hist[:, 0, 0] += 40 - hist.sum(axis=(1, 2))
  for function, ties in itertools.product(FUNCTIONS.values(), rankings.TIES):
    np.testing.assert_array_equal(
      function(hist, None, ties=ties), function(hist, 40, ties=ties)
    )


def test_queries_are_independent():
  hist = np.random.default_rng(4).integers(0, 9, (5, 7, 4))
  hist[:, 0, 0] += 200 - hist.sum(axis=(1, 2))
  for function, ties in itertools.product(FUNCTIONS.values(), rankings.TIES):
    together = function(hist, 60, ties=ties)
    alone = [function(hist[i : i + 1], 60, ties=ties)[0] for i in range(5)]
    np.testing.assert_allclose(together, alone, rtol=1e-14)


def big_problem():
  """Return four histograms of 400 items, too many to list all orders."""
  rng = np.random.default_rng(5)
  sizes = rng.multinomial(400, [0.02, 0.05, 0.1, 0.1, 0.1, 0.13, 0.2, 0.3], 4)
  near, far = [0.55, 0.3, 0.1, 0.05], [0.8, 0.2, 0, 0]
  shares = [near] * 4 + [far] * 4
  return np.stack(
    [rng.multinomial(sizes[:, d], shares[d]) for d in range(8)], axis=1
  )


def items_of(hist):
  """Return distance and overlap of every item of a histogram [D,S+1]."""
  return (np.repeat(x.ravel(), hist.ravel()) for x in np.indices(hist.shape))


def test_shuffles_lie_between_the_bounds_and_average_to_the_expectation():
  num_orders = 10000
  rng = np.random.default_rng(6)
  hist = big_problem()
  for query in range(len(hist)):
    distances, overlaps = items_of(hist[query])
    keys = distances[None] + rng.random((num_orders, len(distances)))
    orders = overlaps[np.argsort(keys, axis=1)]
    for k in (10, 90, 250, 400):
      for name, values in score_orders(orders, k).items():
        low, mean, high = (
          FUNCTIONS[name](hist[query : query + 1], k, ties=ties)[0]
          for ties in ("pessimistic", "expected", "optimistic")
        )
        assert low - 1e-12 <= values.min(), name
        assert high + 1e-12 >= values.max(), name
        error = values.std() / np.sqrt(num_orders)
        # 128 comparisons: 4.5 standard errors fail once in a thousand seeds.
        assert abs(values.mean() - mean) <= 4.5 * error + 1e-12, name


def test_ndcg_equals_scikit_learn():
  hist = big_problem()
  for query in range(len(hist)):
    distances, overlaps = items_of(hist[query])
    for k in (1, 7, 100, 400):
      theirs = sklearn.metrics.ndcg_score(
        2.0 ** overlaps[None] - 1, -distances[None].astype(float), k=k
      )
      ours = metrics.ndcg(hist[query : query + 1], k)[0]
      assert abs(ours - theirs) < 1e-9


def test_numbers_worked_out_by_hand():
  # Distance 0: one item sharing 2 labels; distance 1: one sharing 1, one none.
  hist = np.array([[[0, 0, 1], [1, 1, 0]]])
  np.testing.assert_allclose(metrics.precision(hist, 2), [0.75])
  np.testing.assert_allclose(metrics.acg(hist, 2), [1.25])
  np.testing.assert_allclose(metrics.recall(hist, 2), [0.75])
  np.testing.assert_allclose(metrics.average_precision(hist), [(1 + 5 / 6) / 2])
  wap = metrics.weighted_average_precision(hist)
  np.testing.assert_allclose(wap, [(2 + 3 / 2) / 4 + (2 + 1) / 4])
  ideal = 3 + 1 / np.log2(3)
  dcg = 3 + 0.5 / np.log2(3) + 0.5 / 2
  np.testing.assert_allclose(metrics.ndcg(hist), [dcg / ideal])
  # First two ranks, divided by what was retrieved: (1 + 1)/2 or 1/1.
  ap = metrics.average_precision(hist, 2, "retrieved")
  np.testing.assert_allclose(ap, [1.0])
  np.testing.assert_allclose(metrics.precision_within_radius(hist, 0), [1.0])
  np.testing.assert_allclose(metrics.precision_within_radius(hist, 1), [2 / 3])


def test_an_irrelevant_last_item_can_be_the_best_order():
  # One relevant item, eight others, then one of each tied at ranks 10 and 11.
  hist = np.array([[[0, 1], [8, 0], [1, 1]]])
  ap = functools.partial(metrics.average_precision, hist, 10, "retrieved")
  np.testing.assert_allclose(ap(ties="optimistic"), [1.0])
  np.testing.assert_allclose(ap(ties="pessimistic"), [(1 + 2 / 10) / 2])


@pytest.mark.parametrize("ties", ["optimistic", "pessimistic"])
def test_the_best_and_the_worst_cut_of_long_ties_are_found(ties):
  # For each number m of relevant items that the cut keeps, one order is
  # extreme: they come first or last in the slots, by falling or rising gain.
  rng = np.random.default_rng(5)
  summary = max if ties == "optimistic" else min
  # One more relevant item lowers the average, two raise it most.
  problems = [(np.array([[0, 8, 2, 0, 0], [2, 6, 2, 4, 3]]), 2)]
  for _ in range(300):
    hist = rng.integers(0, 12, (2, rng.integers(2, 9)))
    hist[rng.random(hist.shape) < 0.4] = 0
    hist[1, rng.integers(hist.shape[1])] += 1
    problems.append((hist, rng.integers(1, hist[1].sum() + 1)))
  for hist, slots in problems:
    before = np.sort(np.repeat(np.arange(hist.shape[1]), hist[0]))
    if ties == "optimistic":
      before = before[::-1]
    edge = np.sort(np.repeat(np.arange(hist.shape[1]), hist[1]))
    relevant = edge[edge > 0]
    scores = []
    for m in range(len(relevant) + 1):
      if m <= slots <= m + np.sum(edge == 0):
        others = np.zeros(slots - m, int)
        if ties == "optimistic":
          order = [*before, *relevant[::-1][:m], *others]
        else:
          order = [*before, *others, *relevant[:m]]
        order = np.array([order])
        scores.append(score_orders(order, order.size)["wap retrieved"][0])
    k = len(before) + slots
    score = FUNCTIONS["wap retrieved"](hist[None], k, ties=ties)
    assert score[0] == pytest.approx(summary(scores), rel=1e-12)


def test_balls_and_the_precision_recall_curve():
  hist = np.array([[[0, 0], [1, 1], [2, 2]], [[1, 0], [1, 0], [4, 0]]])
  precision, recall = metrics.precision_recall_curve(hist)
  np.testing.assert_allclose(precision, [[0, 0.5, 0.5], [0, 0, 0]])
  np.testing.assert_allclose(recall, [[0, 1 / 3, 1], [0, 0, 0]])
  for radius in range(3):
    np.testing.assert_allclose(
      metrics.precision_within_radius(hist, radius), precision[:, radius]
    )
  assert metrics.empty_balls(hist, 0).tolist() == [True, False]
  assert metrics.without_relevant(hist).tolist() == [False, True]
  # A radius beyond K holds everything.
  np.testing.assert_allclose(metrics.precision_within_radius(hist, 9), [0.5, 0])


def test_bad_arguments_are_refused():
  hist = np.ones((1, 2, 2), np.int64)
  with pytest.raises(errors.UserError, match="Did you mean 'expected'"):
    metrics.ndcg(hist, 3, ties="expect")
  with pytest.raises(errors.UserError, match="normalizer 'all'"):
    metrics.average_precision(hist, 3, "all")
  for wrong in (0, -1, 2.5, True):
    with pytest.raises(errors.UserError, match="cut-off"):
      metrics.acg(hist, wrong)
  uneven = np.array([[[1, 1]], [[1, 2]]])
  for wrong in (hist[0], hist * 0.5, hist[:0], hist * 0, uneven):
    with pytest.raises(errors.UserError, match="histogram"):
      metrics.acg(wrong, 1)
  for wrong in (-1, 0.5):
    with pytest.raises(errors.UserError, match="radius"):
      metrics.precision_within_radius(hist, wrong)


@pytest.mark.parametrize("start", [0, 1, 63, 64, 65, 1000, 200000])
@pytest.mark.parametrize("count", [0, 1, 2, 63, 64, 65, 129, 5000])
def test_harmonic_difference_is_accurate_relative_to_itself(start, count):
  exact = math.fsum(1 / rank for rank in range(start + 1, start + count + 1))
  ours = harmonic.difference(np.array([float(start)]), np.array([float(count)]))
  assert abs(ours[0] - exact) <= 4e-15 * exact
  # Average precision needs the sum of (u - 1) / (start + u).
  rising = math.fsum(u / (start + u + 1) for u in range(count))
  assert abs(count - (start + 1) * ours[0] - rising) < 1e-11 * max(1, rising)


@pytest.mark.parametrize(
  "population, marked, drawn",
  [(10, 3, 4), (5000, 40, 900), (20000, 19000, 5000), (9, 9, 3), (7, 0, 7)],
)
def test_chances_equal_exact_fractions(population, marked, drawn):
  values, chances = hypergeometric.weights(
    *(np.array([float(x)]) for x in (population, marked, drawn))
  )
  total = math.comb(population, drawn)
  for value, chance in zip(values[0], chances[0], strict=True):
    ways = 0
    if max(0, drawn - population + marked) <= value <= min(drawn, marked):
      value = int(value)
      ways = math.comb(marked, value)
      ways *= math.comb(population - marked, drawn - value)
    assert abs(chance - float(Fraction(ways, total))) < 1e-13
  assert abs(chances.sum() - 1) < 1e-14
