"""From a configuration to the parts of a run; each part takes plain values."""

from collections.abc import Mapping

import flax.linen as nn
import jax
import jax.numpy as jnp
import ml_collections
import optax

from dsh_jax import data, losses, models, steps
from dsh_jax.config import digit_weights, optimizer
from dsh_jax.data import augment
from dsh_jax.models import pretrained

# What is done to the images of a batch; all other fields of config.data, those
# of one data set among them, are arguments of `data.load_splits`.
_AUGMENTATION = {"crop_size", "crop_padding", "flip", "mean", "std"}


def load_splits(config: ml_collections.ConfigDict) -> data.Splits:
  """Return train, validation, query and database of the protocol.

  Raises:
    UserError: As `data.load_splits`.
  """
  settings = {
    name: value
    for name, value in config.data.items()
    if name not in {"dir", *_AUGMENTATION}
  }
  return data.load_splits(data_dir=config.data.dir, **settings)


def create_method(
  config: ml_collections.ConfigDict,
  num_classes: int,
  num_steps: int | None = None,
) -> losses.Method:
  """Return the method's loss.

  Args:
    config: loss, bits and seed are read.
    num_classes: L.
    num_steps: Steps of the whole training; None where nothing is trained.

  Raises:
    UserError: As `losses.make_loss`.
  """
  settings = dict(config.loss)
  return losses.make_loss(
    settings.pop("name"),
    num_bits=config.bits,
    num_classes=num_classes,
    seed=config.seed,
    num_steps=num_steps,
    **{
      name: dict(value) if isinstance(value, Mapping) else value
      for name, value in settings.items()
    },
  )


def create_network(
  config: ml_collections.ConfigDict,
  method: losses.Method,
  axis_name: str | None = None,
) -> nn.Module:
  """Return backbone and head, as wide as the loss asks for.

  Args:
    config: model and dtype are read.
    method: From `create_method`.
    axis_name: pmap axis over which BatchNorm takes its statistics; None under
      jit.

  Raises:
    UserError: As `models.create_network`.
  """
  return models.create_network(
    backbone=config.model.backbone,
    num_outputs=method.num_outputs,
    dtype=jnp.dtype(config.dtype),
    feature_layers=tuple(config.model.feature_layers),
    axis_name=axis_name,
    head={
      "use_bias": config.model.head_bias,
      "batch_norm": config.model.head_batch_norm,
    },
    remat=config.model.remat,
  )


def create_augmentation(
  config: ml_collections.ConfigDict,
) -> augment.Augmentation:
  """Return what is done to images before the network sees them."""
  return augment.Augmentation(
    crop_size=config.data.crop_size or config.data.image_size,
    crop_padding=config.data.crop_padding,
    flip=config.data.flip,
    mean=tuple(config.data.mean),
    std=tuple(config.data.std),
  )


def create_schedule(
  config: ml_collections.ConfigDict, num_steps: int
) -> optax.Schedule:
  """Return the learning rate of a training of `num_steps` steps."""
  options = config.optimizer
  return optimizer.create_schedule(
    options.schedule,
    options.learning_rate,
    num_steps,
    options.halve_every_steps,
    tuple(options.drop_at),
  )


def create_optimizer(
  config: ml_collections.ConfigDict, method: losses.Method, num_steps: int
) -> optax.GradientTransformation:
  """Return the update rule of a training of `num_steps` steps.

  It is for parameters {"backbone", "head", "loss"}, as `steps.create_state`
  makes them; to the config's learning-rate factors is added that of the loss.
  """
  options = config.optimizer
  return optimizer.create_optimizer(
    options.name,
    create_schedule(config, num_steps),
    weight_decay=options.weight_decay,
    momentum=options.momentum,
    multipliers=(
      *((path, factor) for path, factor in options.multipliers),
      ("loss", method.learning_rate_multiplier),
    ),
  )


def create_state(
  config: ml_collections.ConfigDict,
  network: nn.Module,
  method: losses.Method,
  tx: optax.GradientTransformation,
) -> steps.TrainState:
  """Return the state before the first step, as host arrays.

  Args:
    config: seed, data and model are read.
    network: From `create_network`.
    method: From `create_method`.
    tx: From `create_optimizer`.

  Raises:
    UserError: The pretrained weights cannot be used, or the images are too
      small for the network.
  """
  size = config.data.crop_size or config.data.image_size
  key = jax.random.key(config.seed)
  state = jax.device_get(_create_state(network, method, tx, size, key))
  if not config.model.pretrained:
    return state
  variables = {"params": state.params, "batch_stats": state.batch_stats}
  return state.replace(
    **pretrained.load(weights_source(config), config.model.backbone, variables)
  )


_create_state = jax.jit(steps.create_state, static_argnums=(0, 1, 2, 3))


def with_preprocessing(
  config: ml_collections.ConfigDict,
) -> ml_collections.ConfigDict:
  """Return the configuration with the mean and std of pretrained weights.

  Raises:
    UserError: The pretrained weights cannot be found.
  """
  if not config.model.pretrained:
    return config
  config = config.copy_and_resolve_references()
  if config.model.pretrained == digit_weights.NAME:
    # Known before they are made, which is left until the data are there.
    wanted = digit_weights.PREPROCESSING
  else:
    wanted = pretrained.preprocessing(
      config.model.pretrained, config.model.backbone
    )
  config.data.mean, config.data.std = wanted.mean, wanted.std
  return config


def weights_source(config: ml_collections.ConfigDict) -> str:
  """Return the file or Hub id of the pretrained weights, made if need be.

  Raises:
    UserError: They are to be made, and cannot be.
  """
  if config.model.pretrained != digit_weights.NAME:
    return config.model.pretrained
  return digit_weights.prepare(
    config.model.backbone, config.data.dir or data.cache_dir()
  )
