"""Every training step lowers for accelerators, which are not needed for it."""

import jax
import jax.numpy as jnp
import pytest
from jax import export

from configs import digits, methods
from dsh_jax import steps
from dsh_jax.config import factories

PLATFORMS = ("tpu", "cuda")
BATCH, SIZE, NUM_CLASSES = 16, 16, 5


def lower(method, backbone="tiny", dtype="float32"):
  config = digits.get_config(f"method={method},bits=16,backbone={backbone}")
  config.data.image_size, config.data.flip = SIZE, True
  config.dtype = dtype
  loss = factories.create_method(config, NUM_CLASSES)
  network = factories.create_network(config, loss)
  tx = factories.create_optimizer(config, loss, num_steps=10)
  state = jax.eval_shape(
    lambda key: steps.create_state(network, loss, tx, (SIZE, SIZE, 3), key),
    jax.random.key(0),
  )
  step = steps.make_train_step(
    network,
    loss,
    tx,
    factories.create_augmentation(config),
    seed=0,
    batch_size=BATCH,
  )
  images = jax.ShapeDtypeStruct((BATCH, SIZE, SIZE, 3), jnp.uint8)
  labels = jax.ShapeDtypeStruct((BATCH, NUM_CLASSES), jnp.uint8)
  exported = export.export(jax.jit(step), platforms=PLATFORMS)
  return exported(state, images, labels)


# Presets of released code differ from these in data and backbone.
@pytest.mark.parametrize(
  "method", [m for m in methods.METHODS if not m.endswith("_release")]
)
def test_step_of_every_method_lowers(method):
  assert lower(method).platforms == PLATFORMS


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_step_of_a_residual_network_lowers(dtype):
  assert lower("idhn", "resnet18", dtype).platforms == PLATFORMS
