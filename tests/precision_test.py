"""A step in bfloat16 is the step in float32, to the precision of bfloat16."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from configs import digits
from dsh_jax import steps
from dsh_jax.config import factories

pytestmark = pytest.mark.slow

BATCH, SIZE, CLASSES = 32, 32, 10


@functools.cache
def _parts(dtype, data_dir):
  config = digits.get_config("method=idhn,bits=16")
  config.data.dir = data_dir
  config.dtype, config.data.image_size = dtype, SIZE
  method = factories.create_method(config, CLASSES)
  network = factories.create_network(config, method)
  return config, method, network, factories.create_augmentation(config)


@functools.cache
def _step(dtype, data_dir):
  """Return the weights before, the gradient, and the metrics of a step."""
  config, method, network, augmentation = _parts(dtype, data_dir)
  tx = optax.sgd(1.0)
  state = factories.create_state(config, network, method, tx)
  step = steps.make_train_step(
    network, method, tx, augmentation, seed=0, batch_size=BATCH
  )
  rng = np.random.default_rng(0)
  # Blocks of one colour: of noise, all images look alike.
  blocks = rng.integers(0, 256, (BATCH, 4, 4, 3), np.uint8)
  images = blocks.repeat(SIZE // 4, axis=1).repeat(SIZE // 4, axis=2)
  labels = (rng.random((BATCH, CLASSES)) < 0.3).astype(np.uint8)
  after, metrics = jax.jit(step)(state, images, labels)
  gradient = jax.tree.map(lambda x, y: x - y, state.params, after.params)
  return state, after, jax.device_get(gradient), jax.device_get(metrics)


def test_a_step_in_bfloat16_is_that_in_float32_to_rounding(command):
  state, after, gradient, metrics = _step("bfloat16", command.data_dir)
  same, _, want, wanted = _step("float32", command.data_dir)
  for x, y in zip(jax.tree.leaves(state), jax.tree.leaves(same), strict=True):
    np.testing.assert_array_equal(x, y)
  assert {x.dtype for x in jax.tree.leaves(after.params)} == {
    np.dtype("float32")
  }
  assert {x.dtype for x in jax.tree.leaves(after.batch_stats)} == {
    np.dtype("float32")
  }
  assert metrics["loss"] == pytest.approx(wanted["loss"], rel=0.02)
  assert metrics["loss"] != wanted["loss"]
  # Behind the head are four normalisations, and poolings where rounding chooses
  # another pixel; images that differ little have small gradients there.
  for name, least in (("head", 0.98), ("backbone", 0.7)):
    one, other = (
      np.concatenate([x.ravel() for x in jax.tree.leaves(tree[name])])
      for tree in (gradient, want)
    )
    cosine = one @ other / np.linalg.norm(one) / np.linalg.norm(other)
    assert cosine > least, name


def test_the_head_multiplies_in_full_float32(command):
  _, _, network, _ = _parts("bfloat16", command.data_dir)
  images = jax.ShapeDtypeStruct((2, SIZE, SIZE, 3), jnp.float32)
  variables = jax.eval_shape(network.init, jax.random.key(0), images)
  traced = jax.make_jaxpr(network.apply)(variables, images)
  products = [
    equation
    for equation in traced.jaxpr.eqns
    if equation.primitive.name == "dot_general"
  ]
  head = products[-1]
  assert {x.aval.dtype for x in head.invars} == {np.dtype("float32")}
  assert head.params["precision"] == (jax.lax.Precision.HIGHEST,) * 2
