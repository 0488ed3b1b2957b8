"""The steps of a config, with abstract arrays to trace them."""

import functools

import jax
import jax.numpy as jnp

from dsh_jax import steps
from dsh_jax.config import factories


def make_steps(config, num_classes=10, axis_name=None):
  """Return train step, encode step, and abstract state, images and labels."""
  method = factories.create_method(config, num_classes)
  network = factories.create_network(config, method, axis_name)
  num_steps = 4 * config.train.num_epochs
  tx = factories.create_optimizer(config, method, num_steps)
  augmentation = factories.create_training_augmentation(config)
  batch, side = config.train.batch_size, config.data.image_size
  if factories.takes_vectors(config):
    shape = (32,)
    images = jax.ShapeDtypeStruct((batch, *shape), jnp.float32)
  else:
    shape = augmentation.crop_size, augmentation.crop_size, 3
    images = jax.ShapeDtypeStruct((batch, side, side, 3), jnp.uint8)
  train_step = factories.make_train_step(
    config, network, method, tx, num_steps, axis_name
  )
  encode_step = steps.make_encode_step(network, method, augmentation)
  state = jax.eval_shape(
    functools.partial(steps.create_state, network, method, tx, shape),
    jax.random.key(0),
  )
  labels = jax.ShapeDtypeStruct((batch, num_classes), jnp.uint8)
  return train_step, encode_step, state, images, labels
