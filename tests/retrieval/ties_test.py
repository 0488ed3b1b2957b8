"""Outputs order the items at one distance, and nothing else."""

import numpy as np
import pytest

from dsh_jax.retrieval import codes, real_valued, ties

Q, N, K = 5, 120, 6  # Distances 0 to 6: many ties.


@pytest.fixture(scope="module")
def problem():
  """Outputs float16 of queries and items, some of them equal; labels."""
  rng = np.random.default_rng(0)
  query, items = (
    ties.round_outputs(rng.standard_normal((n, K))) for n in (Q, N)
  )
  items[70:80] = items[3:13]
  labels = [(rng.random((n, 4)) < 0.4).astype(np.uint8) for n in (Q, N)]
  return query, items, labels


def _key(query, item, row):
  """Distance, then inner product, then row, from the definition."""
  a, b = query.astype(float), item.astype(float)
  return int(np.sum((a > 0) != (b > 0))), -round(float(a @ b), 12), row


def _ranked(query, items):
  return sorted(range(N), key=lambda row: _key(query, items[row], row))


@pytest.mark.parametrize("k", [1, 24, N])
def test_the_nearest_are_those_of_brute_force(problem, k):
  queries, items, _ = problem
  packed = codes.pack(items)
  for query in queries:
    code = codes.pack(query[np.newaxis])[0]
    distances, rows = ties.top_k(code, query, packed, items, k)
    want = _ranked(query, items)[:k]
    assert rows.tolist() == want
    assert distances.tolist() == [_key(query, items[r], r)[0] for r in want]


def test_the_cosine_of_joined_vectors_ranks_as_the_search(problem):
  queries, items, labels = problem
  query_vectors, vectors = ties.join(
    codes.pack(queries), queries, codes.pack(items), items
  )
  for query, vector in zip(queries, query_vectors, strict=True):
    similarity = np.round(vectors @ vector, 9)
    order = np.lexsort((np.arange(N), -similarity))
    assert order.tolist() == _ranked(query, items)
  found = real_valued.evaluate_cosine(
    query_vectors, vectors, *labels, ["map@all"]
  )
  wanted = []
  for query, own in zip(queries, labels[0], strict=True):
    relevant = (labels[1] @ own > 0)[_ranked(query, items)]
    precision = np.cumsum(relevant) / np.arange(1, N + 1)
    wanted.append(precision[relevant].mean())
  score = found["metrics"]["map@all"]["expected"]
  assert score == pytest.approx(np.mean(wanted), abs=0.01)


def test_outputs_that_float16_cannot_hold_stay_finite():
  rounded = ties.round_outputs(np.array([1e9, -1e9, 0.1], np.float32))
  assert rounded.tolist() == [65504, -65504, np.float16(0.1)]
