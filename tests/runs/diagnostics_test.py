"""Tests of dsh_jax.runs.diagnostics against numbers worked out by hand."""

import math

import numpy as np
import pytest

from dsh_jax.runs import diagnostics

_LABELS = np.array([[1, 0, 0], [1, 1, 0], [1, 1, 1], [0, 1, 0]])


def _describe(logits, labels=_LABELS):
  logits = np.asarray(logits, np.float64)
  return diagnostics.describe(logits, np.tanh(logits), logits > 0, labels)


def test_balance_entropy_pairs_and_quantization_by_hand():
  logits = np.array([[9, -9, 9], [9, -9, -9], [9, -9, -9], [9, 9, 0.5]])
  found = _describe(logits)
  # Shares of ones: 1, 1/4 and 1/2.
  assert found["bit_imbalance"] == pytest.approx((1 + 0.5 + 0) / 3)
  quarter = -(0.25 * math.log2(0.25) + 0.75 * math.log2(0.75))
  assert found["bit_entropy"] == pytest.approx((0 + quarter + 1) / 3)
  # Of six pairs, items 1 and 2 have one code.
  assert found["zero_distance_pairs"] == pytest.approx(1 / 6)
  assert found["quantization_error"] == pytest.approx(
    (1 - math.tanh(0.5)) / 12, abs=1e-6
  )


def test_logits_that_follow_the_number_of_labels():
  count = _LABELS.sum(axis=1)
  found = _describe(np.outer(count, [1.0, -2.0, 0.5]) + 3)
  assert found["effective_rank"] == pytest.approx(1)
  assert found["label_count_correlation"] == pytest.approx(1)
  named = {f"codes/{name}": value for name, value in found.items()}
  assert "start from pretrained weights" in diagnostics.warning(named, 10)
  assert not diagnostics.warning(named, 1)  # One label needs one direction.


def test_logits_in_all_directions():
  rng = np.random.default_rng(0)
  labels = (rng.random((4000, 10)) < 0.3).astype(int)
  found = _describe(rng.normal(size=(4000, 8)), labels)
  assert found["effective_rank"] == pytest.approx(8, rel=0.01)
  assert found["label_count_correlation"] < 0.1
  named = {f"codes/{name}": value for name, value in found.items()}
  assert not diagnostics.warning(named, 10)


def test_constant_logits():
  found = _describe(np.full((4, 3), 2.0))
  assert found["effective_rank"] == 0
  assert found["label_count_correlation"] == 0
  assert found["zero_distance_pairs"] == 1
  assert found["bit_imbalance"] == 1
  assert found["bit_entropy"] == pytest.approx(0, abs=1e-9)
  named = {f"codes/{name}": value for name, value in found.items()}
  assert "100% of the pairs of images" in diagnostics.warning(named, 10)


def test_one_code_is_a_warning_unless_the_labels_are_one():
  rng = np.random.default_rng(0)
  found = _describe(1 + rng.random((4, 3)))
  assert found["effective_rank"] > 1.5
  named = {f"codes/{name}": value for name, value in found.items()}
  warning = diagnostics.warning(named, 3)
  assert "nearly equal: lower config.optimizer.learning_rate" in warning
  assert not diagnostics.warning(named, 3, same_labels=1.0)


def test_one_image_and_none():
  found = _describe([[1.0, -2.0]], _LABELS[:1])
  assert found["zero_distance_pairs"] == found["effective_rank"] == 0
  assert not diagnostics.warning({}, 10)
