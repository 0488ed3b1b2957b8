"""The joint histogram: every backend, split and device count."""

import os
import socket
import subprocess
import sys

import jax
import numpy as np
import pytest
import retrieval_problems as problems

from dsh_jax import errors
from dsh_jax.retrieval import histogram, histogram_xla, labels

SIZES = [(1, 1, 3, 10), (33, 40, 7, 501), (64, 21, 20, 3000), (256, 5, 2, 90)]


def _problem(num_bits, num_classes, num_queries, num_items):
  queries = problems.random_items(0, num_queries, num_bits, num_classes)
  database = problems.random_items(1, num_items, num_bits, num_classes)
  expected = problems.joint_histogram(
    queries[2], database[2], queries[1], database[1]
  )
  return (queries[0], database[0], queries[1], database[1]), expected


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("backend", ["numba", "xla"])
def test_backends_count_every_pair(size, backend):
  arguments, expected = _problem(*size)
  hist = histogram.joint_histogram(*arguments, size[0], backend=backend)
  assert hist.dtype == np.int64
  np.testing.assert_array_equal(hist, expected)


def test_chunks_and_database_order_change_no_bit():
  (queries, database, query_labels, database_labels), expected = _problem(
    64, 21, 5, 300
  )
  order = np.random.default_rng(2).permutation(len(database))
  arguments = queries, database[order], query_labels, database_labels[order], 64
  for backend, rows in (("numba", 1), ("numba", 77), ("xla", 64), ("xla", 300)):
    hist = histogram.joint_histogram(
      *arguments, backend=backend, chunk_rows=rows
    )
    np.testing.assert_array_equal(hist, expected)


def test_counts_are_fetched_before_they_overflow(monkeypatch):
  arguments, expected = _problem(64, 21, 5, 300)
  monkeypatch.setattr(histogram_xla, "MAX_ROWS_PER_FETCH", 100)
  hist = histogram.joint_histogram(*arguments, 64, backend="xla", chunk_rows=40)
  np.testing.assert_array_equal(hist, expected)


@pytest.mark.parametrize("num_devices", [1, 3, 8])
@pytest.mark.parametrize("binning", ["scatter", "onehot"])
def test_devices_change_no_bit(num_devices, binning):
  (queries, database, query_labels, database_labels), expected = _problem(
    33, 40, 9, 157
  )
  counts = np.zeros_like(expected)
  histogram_xla.add(
    queries,
    labels.pack(query_labels),
    database,
    labels.pack(database_labels),
    counts,
    chunk_rows=64,
    devices=jax.devices()[:num_devices],
    binning=binning,
  )
  np.testing.assert_array_equal(counts, expected)


def test_streaming_equals_one_call(monkeypatch):
  monkeypatch.setattr(histogram, "LABEL_ROWS", 33)
  (queries, database, query_labels, database_labels), expected = _problem(
    32, 6, 4, 100
  )
  accumulator = histogram.Accumulator(queries, query_labels, 32)
  for rows in (slice(0, 1), slice(1, 60), slice(60, 100)):
    accumulator.add(database[rows], database_labels[rows])
  np.testing.assert_array_equal(accumulator.result(), expected)
  assert accumulator.num_items == 100
  accumulator.sum_over_hosts()
  np.testing.assert_array_equal(accumulator.result(), expected)


def test_items_without_labels_share_none():
  packed = np.array([[1], [3]], np.uint32)
  hist = histogram.joint_histogram(
    packed, packed, np.zeros((2, 4)), np.ones((2, 4)), 2
  )
  assert hist.tolist() == [[[1], [1], [0]]] * 2


def test_bad_input_is_refused():
  packed = np.zeros((3, 1), np.uint32)
  some = np.zeros((3, 4), np.uint8)
  for message, arguments, options in (
    ("3 query codes but 2 query", (packed, packed, some[:2], some, 8), {}),
    ("3 database codes but 2", (packed, packed, some, some[:2], 8), {}),
    ("same classes", (packed, packed, some, some[:, :3], 8), {}),
    ("no query items", (packed[:0], packed, some[:0], some, 8), {}),
    ("no database items", (packed, packed[:0], some, some[:0], 8), {}),
    ("40 needs 2", (packed, packed, some, some, 40), {}),
    ("hold 2", (packed, packed, some + 2, some, 8), {}),
    ("mean 'numba'", (packed, packed, some, some, 8), {"backend": "number"}),
    ("chunk_rows", (packed, packed, some, some, 8), {"chunk_rows": 0}),
  ):
    with pytest.raises(errors.UserError, match=message):
      histogram.joint_histogram(*arguments, **options)
  accumulator = histogram.Accumulator(packed, some + 1, 8, max_shared=2)
  with pytest.raises(errors.UserError, match="max_shared is 2"):
    accumulator.add(packed, some + 1)


def test_kernels_work_without_a_cache(tmp_path):
  """As in a read-only installation without a home."""
  program = """
import numba.core.caching as caching
for locator in list(caching.CacheImpl._locator_classes):
  locator.ensure_cache_path = lambda self: (_ for _ in ()).throw(OSError())
from dsh_jax.retrieval import compiled
print(compiled.compile_loop(lambda x: x + 1)(15))
"""
  done = subprocess.run(
    [sys.executable, "-c", program], capture_output=True, text=True
  )
  assert done.stdout.strip() == "16", done.stderr


def test_counts_of_hosts_are_summed():
  """Two processes each read a part of the database; both get the sum."""
  program = """
import sys
import jax
jax.distributed.initialize(sys.argv[1], 2, int(sys.argv[2]))
import numpy as np
from dsh_jax.retrieval import histogram
one = np.ones((1, 1), np.uint32)
for rows in (1, 9):
  items = np.arange(rows, dtype=np.uint32)[:, None] % 2
  item_labels = np.eye(3)[[0]] if rows == 1 else np.ones((9, 3))
  print(histogram.joint_histogram(
    one, items, np.ones((1, 3)), item_labels, 1, over_hosts=True
  ).tolist())
accumulator = histogram.Accumulator(one, np.ones((1, 3)), 1, max_shared=0)
accumulator.counts = np.array([[[2**40 + jax.process_index()], [3]]])
accumulator.sum_over_hosts()
print(accumulator.result().tolist())
"""
  with socket.socket() as free:
    free.bind(("localhost", 0))
    address = f"localhost:{free.getsockname()[1]}"
  environment = os.environ | {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": ""}
  processes = [
    subprocess.Popen(
      [sys.executable, "-c", program, address, str(i)],
      stdout=subprocess.PIPE,
      stderr=subprocess.PIPE,
      text=True,
      env=environment,
    )
    for i in range(2)
  ]
  for process in processes:
    out, err = process.communicate(timeout=120)
    # JAX prints before, while it connects.
    assert out.splitlines()[-3:] == [
      "[[[0, 0], [0, 1]]]",
      "[[[0, 0, 0, 4], [0, 0, 0, 5]]]",
      f"[[[{2**41 + 1}], [6]]]",
    ], err


def test_numba_and_faiss_are_imported_on_use():
  program = """
import sys
from dsh_jax.retrieval import evaluation, neighbors
print("numba" in sys.modules, "faiss" in sys.modules)
"""
  done = subprocess.run(
    [sys.executable, "-c", program], capture_output=True, text=True
  )
  assert done.stdout.strip() == "False False", done.stderr
