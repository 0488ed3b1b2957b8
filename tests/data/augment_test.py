"""Crop, flip and normalisation on the device."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dsh_jax.data import augment

MEAN, STD = (0.1, 0.2, 0.3), (0.5, 0.25, 0.125)


@pytest.fixture(scope="module")
def images():
  return np.random.default_rng(0).integers(1, 256, (8, 6, 6, 3), np.uint8)


def _normalize(images):
  return (images / 255.0 - np.array(MEAN)) / np.array(STD)


def test_evaluation_takes_the_centre(images):
  augmentation = augment.Augmentation(4, 3, True, MEAN, STD)
  result = augmentation.without_randomness(jnp.asarray(images))
  assert result.dtype == jnp.float32
  np.testing.assert_allclose(
    result, _normalize(images[:, 1:5, 1:5]), rtol=1e-5, atol=1e-6
  )


def test_without_crop_or_flip_training_equals_evaluation(images):
  augmentation = augment.Augmentation(6, 0, False, MEAN, STD)
  np.testing.assert_array_equal(
    augmentation(jax.random.key(0), images, 8),
    augmentation.without_randomness(jnp.asarray(images)),
  )


def test_every_result_is_a_window_of_the_padded_image(images):
  augmentation = augment.Augmentation(5, 1, True, MEAN, STD)
  call = jax.jit(augmentation, static_argnums=2)
  padded = np.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)))
  seen = set()
  for seed in range(60):
    results = call(jax.random.key(seed), images, 8)
    for image, result in zip(padded, np.asarray(results), strict=True):
      found = [
        (top, left, flip)
        for top in range(4)
        for left in range(4)
        for flip in (1, -1)
        if np.allclose(
          _normalize(image[top : top + 5, left : left + 5][:, ::flip]),
          result,
          atol=1e-5,
        )
      ]
      assert len(found) == 1
      seen.update(found)
  assert len(seen) == 32  # Every place and both directions occur.


def test_a_shard_is_augmented_like_the_whole_batch(images):
  augmentation = augment.Augmentation(5, 2, True)
  key = jax.random.key(7)
  whole = augmentation(key, images, 8)
  call = jax.jit(augmentation, static_argnums=2)
  parts = [call(key, images[i : i + 2], 8, i) for i in range(0, 8, 2)]
  np.testing.assert_array_equal(whole, np.concatenate(parts))


@pytest.mark.parametrize("flip", [False, True])
def test_products_select_the_pixels_that_slices_do(images, flip):
  augmentation = augment.Augmentation(5, crop_padding=2, flip=flip)
  rng = np.random.default_rng(1)
  corners = jnp.asarray(rng.integers(0, 6, (len(images), 2)), jnp.int32)
  corners = corners.at[:2].set(jnp.array([[0, 5], [5, 0]]))  # The extremes.
  flips = jnp.arange(len(images)) % 2 == (0 if flip else 2)
  chosen = jnp.asarray(images), corners, flips
  by_products = augmentation._crop_by_products(*chosen)
  by_slices = augmentation._crop_by_slices(*chosen)
  assert by_products.dtype == by_slices.dtype == jnp.float32
  np.testing.assert_array_equal(by_products, by_slices)
