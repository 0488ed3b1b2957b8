"""Metrics by name, and the evaluation of codes."""

import fractions

import numpy as np
import pytest
import retrieval_problems as problems

from dsh_jax import errors
from dsh_jax.retrieval import evaluation, metrics, real_valued, strict

NAMES = (*metrics.DEFAULT_METRICS, "recall@9", "precision@12", "map@20")


def _problem(num_queries=11):
  queries = problems.random_items(0, num_queries, 16, 6, share=0.2)
  database = problems.random_items(1, 80, 16, 6, share=0.2)
  hist = problems.joint_histogram(
    queries[2], database[2], queries[1], database[1]
  )
  return (queries[0], database[0], queries[1], database[1], 16), hist


def test_evaluation_is_the_mean_of_the_metrics():
  arguments, hist = _problem()
  result = evaluation.evaluate_codes(*arguments, names=NAMES)
  for name in NAMES:
    scores = result["metrics"][name]
    for ties in ("expected", "optimistic", "pessimistic"):
      expected = evaluation.per_query(hist, name, ties).mean()
      np.testing.assert_allclose(scores[ties], expected, rtol=1e-14)
    tied = hist.sum(axis=1, keepdims=True)
    expected = evaluation.per_query(tied, name).mean()
    np.testing.assert_allclose(scores["chance"], expected, rtol=1e-14)
    assert scores["pessimistic"] <= scores["expected"] + 1e-12
    assert scores["expected"] <= scores["optimistic"] + 1e-12
  empty = metrics.without_relevant(hist)
  assert result["counts"] == {
    "queries": 11,
    "database": 80,
    "queries_without_relevant": int(empty.sum()),
    "queries_without_label": int((arguments[2].sum(axis=1) == 0).sum()),
    "empty_balls@r<=2": int(metrics.empty_balls(hist, 2).sum()),
  }


def test_queries_in_blocks_give_the_same(monkeypatch):
  arguments, _ = _problem()
  whole = evaluation.evaluate_codes(*arguments, names=NAMES)
  monkeypatch.setattr(evaluation, "MAX_CELLS", 400)
  monkeypatch.setattr(evaluation, "QUERY_BLOCK", 2)
  parts = evaluation.evaluate_codes(*arguments, names=NAMES)
  assert parts["counts"] == whole["counts"]
  for name, scores in whole["metrics"].items():
    for ties, value in scores.items():
      np.testing.assert_allclose(
        parts["metrics"][name][ties], value, rtol=1e-14
      )


def test_a_query_without_labels_counts_as_zero_or_is_left_out():
  (queries, database, query_labels, database_labels, num_bits), _ = _problem()
  query_labels = query_labels.copy()
  query_labels[4] = 0
  arguments = (queries, database, query_labels, database_labels, num_bits)
  counted = evaluation.evaluate_codes(*arguments, ["map@all"])
  dropped = evaluation.evaluate_codes(*arguments, ["map@all"], drop_empty=True)
  empty = counted["counts"]["queries_without_relevant"]
  assert empty >= counted["counts"]["queries_without_label"] >= 1
  np.testing.assert_allclose(
    counted["metrics"]["map@all"]["expected"] * 11,
    dropped["metrics"]["map@all"]["expected"] * (11 - empty),
  )
  query_labels[:] = 0
  for drop_empty in (False, True):
    result = evaluation.evaluate_codes(*arguments, ["ndcg@5"], drop_empty)
    assert result["metrics"]["ndcg@5"]["expected"] == 0


def test_more_shared_labels_than_a_float64_has_powers_of_two():
  # An item has all of 1,100 labels or none, so gains are nearly 0 or huge; the
  # last query has only the other labels.
  rng = np.random.default_rng(0)
  (queries, database, query_labels, database_labels, num_bits), _ = _problem()

  def add_labels(labels, has):
    return np.concatenate([labels, np.tile(has[:, None], 1100)], axis=1)

  has_query = np.arange(len(query_labels)) < len(query_labels) - 1
  has_item = rng.random(len(database_labels)) < 0.3
  arguments = (
    queries,
    database,
    add_labels(query_labels, has_query),
    add_labels(database_labels, has_item),
    num_bits,
  )
  result = evaluation.evaluate_codes(*arguments, ["ndcg@9", "ndcg@all"])
  exact = _exact_ndcg(arguments)
  for name, k in (("ndcg@9", 9), ("ndcg@all", 80)):
    scores = result["metrics"][name]
    assert all(np.isfinite(list(scores.values()))), scores
    lowest, highest = exact(k)
    assert lowest < highest
    np.testing.assert_allclose(scores["pessimistic"], lowest, rtol=1e-12)
    np.testing.assert_allclose(scores["optimistic"], highest, rtol=1e-12)
    assert lowest < scores["expected"] < highest


def _exact_ndcg(arguments):
  """Return k -> lowest and highest mean NDCG over tie orders, exactly."""
  queries, database, query_labels, database_labels, _ = arguments
  distances = np.bitwise_count(queries[:, None] ^ database[None]).sum(axis=2)
  shared = query_labels.astype(int) @ database_labels.astype(int).T

  def dcg(overlaps, k):
    # Discounts in units of 2^-60.
    discounts = (2**60 / np.log2(np.arange(k) + 2)).astype(np.int64)
    best_first = (2 ** int(s) - 1 for s in overlaps[:k])
    return sum(
      gain * int(weight)
      for gain, weight in zip(best_first, discounts, strict=True)
    )

  def mean(k, sign):
    values = []
    for d, s in zip(distances, shared, strict=True):
      ideal = dcg(np.sort(s)[::-1], k)
      ranked = dcg(s[np.lexsort((sign * s, d))], k)
      values.append(float(fractions.Fraction(ranked, ideal)) if ideal else 0.0)
    return np.mean(values)

  return lambda k: (mean(k, 1), mean(k, -1))


@pytest.mark.parametrize(
  "name",
  [
    *("map", "map@0", "map@-1", "ndgc@10", "precision@r<2", "acg@1.5", 3),
    *(f"{kind}{'1' * 5000}" for kind in ("ndcg@", "precision@r<=")),
    f"map@{2**64}",
  ],
)
def test_unknown_names_are_refused(name):
  with pytest.raises(errors.UserError, match="Allowed: .*ndcg@k") as caught:
    evaluation.parse(name)
  assert len(str(caught.value)) < 300


def test_more_shared_labels_than_can_be_scored_are_refused():
  codes = np.zeros((2, 1), np.uint32)
  labels = np.ones((2, 70_000), np.uint8)
  with pytest.raises(errors.UserError, match="up to 70,000 labels; .* 4,096"):
    evaluation.evaluate_codes(codes, codes, labels, labels, 8)
  with pytest.raises(errors.UserError, match="up to 70,000 labels; .* 4,096"):
    real_valued.evaluate_cosine(np.eye(2), np.eye(2), labels, labels)


def test_strict_scores_stay_finite_with_any_number_of_labels():
  rng = np.random.default_rng(0)
  queries, items = rng.standard_normal((3, 4)), rng.standard_normal((9, 4))
  few = rng.integers(0, 2, (9, 5))
  many = np.concatenate([few, np.ones((9, 1500), int)], axis=1)
  for labels in (few, many):
    names = strict.METRICS
    scores = strict.evaluate_cosine(queries, items, labels[:3], labels)
    expected = real_valued.evaluate_cosine(
      queries, items, labels[:3], labels, names
    )["metrics"]
    for name in names:
      assert scores[name] == pytest.approx(expected[name]["expected"], rel=1e-6)


def test_bad_input_is_refused():
  (queries, database, query_labels, database_labels, num_bits), hist = (
    _problem()
  )
  call = evaluation.evaluate_codes
  with pytest.raises(errors.UserError, match="normalizer 'all'"):
    call(*_problem()[0], normalizer="all")
  with pytest.raises(errors.UserError, match="11 query codes but 10"):
    call(queries, database, query_labels[:10], database_labels, num_bits)
  with pytest.raises(errors.UserError, match="no query items"):
    call(queries[:0], database, query_labels[:0], database_labels, num_bits)
  with pytest.raises(errors.UserError, match="no queries"):
    evaluation.score(hist[:0])
