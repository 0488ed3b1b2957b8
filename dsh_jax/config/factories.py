"""From a configuration to the parts of a run; each part takes plain values."""

import functools
from collections.abc import Mapping

import flax.linen as nn
import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import optax

from dsh_jax import data, losses, models, parallel, steps
from dsh_jax.config import digit_weights, fields, optimizer
from dsh_jax.data import augment
from dsh_jax.models import pretrained

_BLOCK = 1 << 14  # Rows of features that are float64 at a time.
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
  """Return what is trained: backbone and head, as wide as the loss asks for.

  Args:
    config: model and dtype are read.
    method: From `create_method`.
    axis_name: pmap axis over which BatchNorm takes its statistics; None under
      jit.

  Returns:
    The network; of a frozen backbone the part behind it, which takes features.

  Raises:
    UserError: As `models.create_network`.
  """
  if not config.model.frozen:
    return _create_network(config, method, axis_name)
  config = config.copy_and_resolve_references()
  config.model.backbone, config.model.feature_layers = models.VECTORS, ()
  return _create_network(config, method, axis_name)


def create_joined_network(
  config: ml_collections.ConfigDict, method: losses.Method
) -> nn.Module:
  """Returns the frozen backbone with what was trained behind it."""
  backbone = config.model.backbone
  config = config.copy_and_resolve_references()
  config.model.backbone = models.VECTORS
  return _create_network(config, method, None, frozen=backbone)


def _create_network(config, method, axis_name, **more):
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
    normalization=config.model.normalization,
    hidden_layers=tuple(config.model.hidden_layers),
    **more,
  )


def takes_vectors(config: ml_collections.ConfigDict) -> bool:
  """Returns whether what is trained takes features in place of images."""
  return config.model.frozen or config.model.backbone == models.VECTORS


def create_augmentation(
  config: ml_collections.ConfigDict,
) -> augment.Augmentation | augment.Unchanged:
  """Return what is done to images before the network sees them."""
  if config.model.backbone == models.VECTORS:
    return augment.Unchanged()
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
  Those of a backbone that starts from random weights are left out.
  """
  options = config.optimizer
  slows_backbone = fields.trains_pretrained(config)
  return optimizer.create_optimizer(
    options.name,
    create_schedule(config, num_steps),
    weight_decay=options.weight_decay,
    momentum=options.momentum,
    multipliers=(
      *(
        (path, factor)
        for path, factor in options.multipliers
        if slows_backbone or not fields.is_of_backbone(path)
      ),
      ("loss", method.learning_rate_multiplier),
    ),
  )


def create_state(
  config: ml_collections.ConfigDict,
  network: nn.Module,
  method: losses.Method,
  tx: optax.GradientTransformation,
  features: np.ndarray | None = None,
) -> steps.TrainState:
  """Return the state before the first step, as host arrays.

  Args:
    config: seed, data and model are read.
    network: From `create_network`.
    method: From `create_method`.
    tx: From `create_optimizer`.
    features: float [N,F] of the training items, where `takes_vectors`.

  Raises:
    UserError: The pretrained weights cannot be used, or the images are too
      small for the network.
  """
  size = config.data.crop_size or config.data.image_size
  shape = (size, size, 3) if features is None else features.shape[1:]
  key = jax.random.key(config.seed)
  create = _make_create_state(jax.devices()[0])
  state = jax.device_get(create(network, method, tx, shape, key))
  if features is not None:
    return _with_statistics(config, state, features)
  if not config.model.pretrained:
    return state
  variables = {"params": state.params, "batch_stats": state.batch_stats}
  return state.replace(
    **pretrained.load(weights_source(config), config.model.backbone, variables)
  )


@functools.cache
def _make_create_state(device):
  return jax.jit(
    steps.create_state,
    static_argnums=(0, 1, 2, 3),
    compiler_options=parallel.compiler_options(device),
  )


def _with_statistics(config, state, features):
  """Return the state with mean and deviation of the training features."""
  if config.model.normalization != "standardise":
    return state
  blocks = range(0, len(features), _BLOCK)

  def mean_of(function):
    total = sum(
      function(np.asarray(features[first : first + _BLOCK], np.float64)).sum(0)
      for first in blocks
    )
    return total / len(features)

  mean = mean_of(lambda x: x)
  scale = np.sqrt(mean_of(lambda x: np.square(x - mean)))
  found = {
    "mean": mean.astype(np.float32),
    # What never differs in training says nothing.
    "scale": np.where(scale > 1e-6, scale, 1).astype(np.float32),
  }
  backbone = state.params["backbone"] | found
  return state.replace(params=state.params | {"backbone": backbone})


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
