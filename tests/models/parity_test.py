"""Backbones against PyTorch, on weights and images drawn from NumPy."""

import json
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import random_weights

from dsh_jax import models
from dsh_jax.models import pretrained

OUTPUTS = pathlib.Path(__file__).parents[1] / "torch_outputs.npz"


@pytest.fixture(scope="module")
def expected():
  with np.load(OUTPUTS) as arrays:
    return dict(arrays)


def _load(backbone, expected, folder):
  """Return the network, its variables from a file, and images."""
  shapes = json.loads(str(expected[f"{backbone}/shapes"]))
  weights = random_weights.draw_weights(shapes)
  path = folder / f"{backbone}.npz"
  np.savez(path, **weights)
  network = models.create_network(
    backbone, num_outputs=random_weights.NUM_OUTPUTS
  )
  images = random_weights.draw_images(backbone)
  shapes = jax.eval_shape(network.init, jax.random.key(0), images)
  variables = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), shapes)
  variables = pretrained.load(str(path), backbone, variables)
  name = {"alexnet": "classifier.6", "alexnet_caffe": "fc8"}.get(backbone, "fc")
  variables["params"]["head"] = {
    "dense": {
      "kernel": weights[f"{name}.weight"].T,
      "bias": weights[f"{name}.bias"],
    }
  }
  return network, variables, images


def _assert_close(actual, expected):
  error = np.abs(np.asarray(actual) - expected).max() / np.abs(expected).max()
  assert error < 1e-4, error


@pytest.mark.parametrize(
  "backbone", sorted(set(random_weights.IMAGE_SHAPES) - {"efficientnet_lite0"})
)
def test_features_and_logits_equal_pytorch(backbone, expected, tmp_path):
  network, variables, images = _load(backbone, expected, tmp_path)

  @jax.jit
  def run(variables, images):
    features = network.apply(variables, images, train=False, method="features")
    logits = network.apply(variables, images, train=False)
    return features, logits

  features, logits = run(variables, images)
  _assert_close(features, expected[f"{backbone}/features"])
  _assert_close(logits, expected[f"{backbone}/logits"])
  assert features.dtype == logits.dtype == jnp.float32


def test_batch_statistics_equal_pytorch(expected, tmp_path):
  network, variables, images = _load("resnet18", expected, tmp_path)
  logits, updates = jax.jit(
    lambda variables, images: network.apply(
      variables, images, train=True, mutable=["batch_stats"]
    )
  )(variables, images)
  _assert_close(logits, expected["resnet18/train_logits"])
  _assert_close(
    updates["batch_stats"]["backbone"]["bn1"]["mean"],
    expected["resnet18/running_mean"],
  )
