"""The steps of a config, with abstract arrays to trace them."""

import functools

import jax
import jax.numpy as jnp

from dsh_jax import steps
from dsh_jax.config import factories
from dsh_jax.data import augment


def make_steps(config, num_classes=10, axis_name=None):
  """Return train step, encode step, and abstract state, images and labels."""
  method = factories.create_method(config, num_classes)
  sync = config.model.sync_batch_norm
  network = factories.create_network(
    config, method, axis_name if sync else None
  )
  tx = factories.create_optimizer(config, method, 4 * config.train.num_epochs)
  batch, side = config.train.batch_size, config.data.image_size
  if factories.takes_vectors(config):
    augmentation, shape = augment.Unchanged(), (32,)
    images = jax.ShapeDtypeStruct((batch, *shape), jnp.float32)
  else:
    augmentation = factories.create_augmentation(config)
    shape = augmentation.crop_size, augmentation.crop_size, 3
    images = jax.ShapeDtypeStruct((batch, side, side, 3), jnp.uint8)
  train_step = steps.make_train_step(
    network,
    method,
    tx,
    augmentation,
    seed=config.seed,
    batch_size=batch,
    axis_name=axis_name,
    accumulate=config.train.accumulate,
    skip_nonfinite=config.train.on_nonfinite == "skip",
    sync_batch_norm=sync,
  )
  encode_step = steps.make_encode_step(network, method, augmentation)
  state = jax.eval_shape(
    functools.partial(steps.create_state, network, method, tx, shape),
    jax.random.key(0),
  )
  labels = jax.ShapeDtypeStruct((batch, num_classes), jnp.uint8)
  return train_step, encode_step, state, images, labels
