"""Packed codes and packed labels."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dsh_jax import errors
from dsh_jax.retrieval import codes, labels


@pytest.mark.parametrize("num_bits", [1, 31, 32, 33, 64, 100, 256])
def test_bits_survive_packing(num_bits):
  relaxed = np.random.default_rng(num_bits).normal(size=(7, num_bits))
  packed = codes.pack(relaxed)
  assert packed.dtype == np.uint32
  assert packed.shape == (7, -(-num_bits // 32))
  np.testing.assert_array_equal(codes.unpack(packed, num_bits), relaxed > 0)


def test_lowest_bit_comes_first_and_zero_is_no_bit():
  assert codes.pack(np.array([[1.0, 0.0, -1.0, 0.5]])).tolist() == [[0b1001]]
  wide = np.zeros((1, 33))
  wide[0, 32] = 1
  assert codes.pack(wide).tolist() == [[0, 1]]
  assert codes.pack(wide[:0]).shape == (0, 2)


def test_signs_booleans_and_device_arrays_give_the_same_codes():
  bits = np.random.default_rng(0).random((5, 40)) < 0.5
  expected = codes.pack(bits)
  signs = np.where(bits, 1, -1).astype(np.int8)
  for same in (signs, bits.astype(np.uint8), jnp.asarray(signs, jnp.bfloat16)):
    np.testing.assert_array_equal(codes.pack(same), expected)


@pytest.mark.parametrize("num_bits", [1, 31, 32, 33, 48, 64, 256])
def test_packing_on_the_device_equals_packing_on_the_host(num_bits):
  relaxed = np.random.default_rng(num_bits).standard_normal((5, num_bits))
  relaxed = relaxed.astype(np.float32)
  relaxed[0] = 0
  relaxed[1, 0] = -0.0
  packed, has_nan = jax.jit(codes.pack_traced)(relaxed)
  assert packed.dtype == np.uint32 and not np.any(has_nan)
  np.testing.assert_array_equal(packed, codes.pack(relaxed))
  codes.check_numbers(np.asarray(has_nan))
  relaxed[3, -1] = np.nan
  _, has_nan = codes.pack_traced(relaxed)
  with pytest.raises(errors.UserError, match="NaN in 1 of 5"):
    codes.check_numbers(np.asarray(has_nan))


@pytest.mark.parametrize(
  "relaxed, message",
  [
    (np.zeros(4), r"shape \(4,\)"),
    (np.zeros((2, 0)), "0 bits"),
    (np.zeros((2, 257)), "1 to 256"),
    (np.array([[1.0, np.nan], [1.0, 1.0]]), "NaN in 1 of 2"),
    (jnp.array([[jnp.nan]], jnp.bfloat16), "NaN"),
    (np.array([[1j]]), "complex"),
    (np.array([["a"]]), "numbers"),
  ],
)
def test_bad_codes_are_refused(relaxed, message):
  with pytest.raises(errors.UserError, match=message):
    codes.pack(relaxed)


@pytest.mark.parametrize(
  "packed, num_bits, message",
  [
    (np.zeros((2, 1), np.uint32), 33, "33 needs 2"),
    (np.zeros((2, 1), np.int64), 32, "int64"),
    (np.zeros(2, np.uint32), 32, "shape"),
    (np.full((2, 1), 8, np.uint32), 3, "beyond num_bits 3"),
    (np.zeros((2, 1), np.uint32), 0, "1 to 256"),
  ],
)
def test_words_must_match_the_number_of_bits(packed, num_bits, message):
  with pytest.raises(errors.UserError, match=message):
    codes.check(packed, num_bits, "query codes")


@pytest.mark.parametrize("num_classes", [1, 21, 32, 80])
def test_labels_count_after_packing(num_classes):
  vectors = np.random.default_rng(1).random((9, num_classes)) < 0.4
  packed = labels.pack(vectors)
  np.testing.assert_array_equal(labels.count(packed), vectors.sum(1))


@pytest.mark.parametrize(
  "vectors, message",
  [
    ([[0, 2]], "hold 2"),
    ([[0, -1]], "hold -1"),
    ([[0.5, 1]], "hold 0.5"),
    ([[np.nan, 1]], "hold nan"),
    ([3, 1], "one-hot"),
    (np.zeros((2, 0)), "shape"),
  ],
)
def test_labels_are_zeros_and_ones(vectors, message):
  with pytest.raises(errors.UserError, match=message):
    labels.pack(vectors, "query labels")
