"""Tests of what retrieval is compared with."""

import numpy as np

from benchmarks.speed import (
  retrieval_accelerator,
  retrieval_peers,
  retrieval_speed,
)
from dsh_jax.retrieval import codes, evaluation


def test_plain_code_scores_the_same_where_nothing_is_tied():
  # Distances 0 ... 31, each once.
  database = np.triu(np.ones((32, 32)))[:, :31] * 2.0 - 1
  rng = np.random.default_rng(0)
  rng.shuffle(database)
  queries = np.full((2, 31), -1.0)
  query_labels = np.eye(2, 5)
  labels = (rng.random((32, 5)) < 0.4).astype(np.uint8)
  plain = retrieval_peers.plain_map(queries, database, query_labels, labels, 20)
  ours = evaluation.evaluate_codes(
    codes.pack(queries),
    codes.pack(database),
    query_labels,
    labels,
    31,
    ["map@20"],
  )["metrics"]["map@20"]
  for ties in ("expected", "optimistic", "pessimistic"):
    np.testing.assert_allclose(ours[ties], plain)


def test_turns_leave_the_warm_up_and_what_is_absent_out():
  calls = []
  seconds = retrieval_speed.run_turns(
    {"a": lambda: calls.append(1), "b": None}, repeats=3
  )
  assert len(calls) == 4
  assert list(seconds) == ["a"] and seconds["a"].shape == (3,)


def test_accelerator_section_runs_on_any_device():
  lines = retrieval_accelerator.report(quick=True)
  assert sum("G pairs/s" in line for line in lines) == 3
