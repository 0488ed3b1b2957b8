"""Exact search against plain sorting."""

import jax
import numpy as np
import pytest
import retrieval_problems as problems

from dsh_jax import errors
from dsh_jax.retrieval import neighbors


def _problem(num_bits, num_items, num_queries=5):
  queries, _, query_bits = problems.random_items(0, num_queries, num_bits, 1)
  database, _, database_bits = problems.random_items(1, num_items, num_bits, 1)
  # Equal rows make ties at every distance.
  database[num_items // 2 :] = database[: num_items - num_items // 2]
  database_bits[num_items // 2 :] = database_bits[: num_items - num_items // 2]
  distances = np.sum(query_bits[:, None] != database_bits[None], axis=2)
  return queries, database, distances


@pytest.mark.parametrize("num_bits", [1, 8, 64, 100, 256])
@pytest.mark.parametrize("backend", ["numba", "xla"])
def test_nearest_come_first_and_ties_by_lowest_row(num_bits, backend):
  queries, database, all_distances = _problem(num_bits, 300)
  order = np.argsort(all_distances, axis=1, kind="stable")
  for k in (1, 7, 300):
    distances, indices = neighbors.top_k(queries, database, k, backend=backend)
    assert distances.dtype == np.int32 and indices.dtype == np.int64
    np.testing.assert_array_equal(indices, order[:, :k])
    np.testing.assert_array_equal(
      distances, np.take_along_axis(all_distances, order[:, :k], axis=1)
    )


@pytest.mark.parametrize("backend", ["numba", "xla"])
@pytest.mark.parametrize("chunk_rows", [9, 100])
def test_chunks_change_nothing(backend, chunk_rows):
  queries, database, all_distances = _problem(20, 300)
  order = np.argsort(all_distances, axis=1, kind="stable")
  _, indices = neighbors.top_k(
    queries, database, 40, backend=backend, chunk_rows=chunk_rows
  )
  np.testing.assert_array_equal(indices, order[:, :40])
  whole = neighbors.within_radius(queries, database, 8)
  parts = neighbors.within_radius(
    queries, database, 8, backend=backend, chunk_rows=chunk_rows
  )
  for one, other in zip(whole, parts, strict=True):
    np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("num_devices", [1, 3])
def test_devices_change_nothing(num_devices):
  queries, database, all_distances = _problem(20, 200)
  order = np.argsort(all_distances, axis=1, kind="stable")
  _, indices = neighbors.top_k(
    queries,
    database,
    30,
    backend="xla",
    devices=jax.devices()[:num_devices],
    chunk_rows=64,
  )
  np.testing.assert_array_equal(indices, order[:, :30])


def test_full_candidate_lists_are_compacted():
  """Every item is nearer than the last: candidates overflow their space."""
  bits = np.tril(np.ones((64, 64), bool))[::-1].repeat(400, axis=0)
  database = np.packbits(bits, axis=1, bitorder="little").view(np.uint32)
  queries = np.zeros((2, 2), np.uint32)
  distances, indices = neighbors.top_k(queries, database, 500, backend="numba")
  order = np.argsort(bits.sum(axis=1), kind="stable")[:500]
  np.testing.assert_array_equal(indices, [order, order])
  np.testing.assert_array_equal(distances[0], bits.sum(axis=1)[order])


@pytest.mark.parametrize("backend", ["numba", "xla"])
def test_the_whole_ball_is_listed(backend):
  queries, database, all_distances = _problem(33, 300)
  for radius in (0, 13, 16, 99):
    offsets, distances, indices = neighbors.within_radius(
      queries, database, radius, backend=backend
    )
    for query in range(len(queries)):
      order = np.argsort(all_distances[query], kind="stable")
      order = order[all_distances[query][order] <= radius]
      ball = slice(offsets[query], offsets[query + 1])
      np.testing.assert_array_equal(indices[ball], order)
      np.testing.assert_array_equal(
        distances[ball], all_distances[query][order]
      )


def test_bad_input_is_refused():
  some = np.zeros((3, 2), np.uint32)
  for k in (0, 4, -1):
    with pytest.raises(errors.UserError, match="1 to 3"):
      neighbors.top_k(some, some, k)
  for message, arguments, options in (
    ("whole number", (some, some, 1.5), {}),
    ("same number of bits", (some, some[:, :1], 1), {}),
    ("no query items", (some[:0], some, 1), {}),
    ("no database items", (some, some[:0], 1), {}),
    ("float64", (some * 1.0, some, 1), {}),
    ("backend 'gpu'", (some, some, 1), {"backend": "gpu"}),
    ("chunk_rows", (some, some, 1), {"chunk_rows": 0}),
  ):
    with pytest.raises(errors.UserError, match=message):
      neighbors.top_k(*arguments, **options)
  with pytest.raises(errors.UserError, match="0 or more"):
    neighbors.within_radius(some, some, -1)
