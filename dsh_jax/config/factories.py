"""Create the parts of a run from a configuration."""

import functools
from collections.abc import Callable

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

_BLOCK = 1 << 14  # Rows of features converted to float64 at a time.
# All other fields of config.data are arguments of `data.load_splits`.
_AUGMENTATION = {"crop_size", "crop_padding", "flip", "mean", "std"}


def load_splits(config: ml_collections.ConfigDict) -> data.Splits:
  """Return the splits of the protocol; raise as `data.load_splits`."""
  settings = {
    name: value
    for name, value in config.data.items()
    if name not in {"dir", *_AUGMENTATION}
  }
  return data.load_splits(data_dir=config.data.dir, **settings)


def data_source(config: ml_collections.ConfigDict) -> str:
  """Return the `data.Dataset.key` of a configuration; reads no image.

  Raises:
    UserError: A list of images cannot be read.
  """
  dataset = data.DATASETS[config.data.name]
  options = {name: config.data[name] for name in dataset.options}
  return dataset.key(config.data.manual_dir, **options)


def create_method(
  config: ml_collections.ConfigDict,
  num_classes: int,
  num_steps: int | None = None,
) -> losses.Method:
  """Return the loss; raise as `losses.make_loss`.

  Args:
    config: loss, bits and seed are read.
    num_classes: L.
    num_steps: Training steps; None without training.
  """
  settings = dict(config.loss)
  return losses.make_loss(
    settings.pop("name"),
    num_bits=config.bits,
    num_classes=num_classes,
    seed=config.seed,
    num_steps=num_steps,
    **settings,
  )


def create_network(
  config: ml_collections.ConfigDict,
  method: losses.Method,
  axis_name: str | None = None,
) -> nn.Module:
  """Return the trained network; raise as `models.create_network`.

  It has a backbone and a head; with a frozen backbone, it takes its features.

  Args:
    config: model and dtype are read.
    method: From `create_method`.
    axis_name: pmap axis, for BatchNorm if config.model.sync_batch_norm; None
      under jit.
  """
  backbone, layers = config.model.backbone, config.model.feature_layers
  if config.model.frozen:
    backbone, layers = models.VECTORS, ()
  if not config.model.sync_batch_norm:
    axis_name = None
  return _create_network(config, method, backbone, layers, axis_name=axis_name)


def create_joined_network(
  config: ml_collections.ConfigDict, method: losses.Method
) -> nn.Module:
  """Return the frozen backbone followed by the trained network."""
  backbone, layers = config.model.backbone, config.model.feature_layers
  return _create_network(
    config, method, models.VECTORS, layers, frozen=backbone
  )


def _create_network(config, method, backbone, feature_layers, **options):
  return models.create_network(
    backbone=backbone,
    num_outputs=method.num_outputs,
    dtype=jnp.dtype(config.dtype),
    feature_layers=tuple(feature_layers),
    head={
      "use_bias": config.model.head_bias,
      "batch_norm": config.model.head_batch_norm,
    },
    remat=config.model.remat,
    normalization=config.model.normalization,
    hidden_layers=tuple(config.model.hidden_layers),
    **options,
  )


def takes_vectors(config: ml_collections.ConfigDict) -> bool:
  """Return whether the trained network takes features, not images."""
  return config.model.frozen or config.model.backbone == models.VECTORS


def create_augmentation(
  config: ml_collections.ConfigDict,
) -> augment.Augmentation | augment.Unchanged:
  """Return the augmentation and normalisation of images."""
  if config.model.backbone == models.VECTORS:
    return augment.Unchanged()
  return augment.Augmentation(
    crop_size=config.data.crop_size or config.data.image_size,
    crop_padding=config.data.crop_padding,
    flip=config.data.flip,
    mean=tuple(config.data.mean),
    std=tuple(config.data.std),
  )


def create_training_augmentation(
  config: ml_collections.ConfigDict,
) -> augment.Augmentation | augment.Unchanged:
  """Return the augmentation of what the trained network takes."""
  if takes_vectors(config):
    return augment.Unchanged()
  return create_augmentation(config)


def make_train_step(
  config: ml_collections.ConfigDict,
  network: nn.Module,
  method: losses.Method,
  tx: optax.GradientTransformation,
  num_steps: int,
  axis_name: str | None = None,
) -> Callable:
  """Return the train step, see `steps.make_train_step`.

  Args:
    config: seed, data, model, optimizer and train are read.
    network: From `create_network`.
    method: From `create_method`.
    tx: From `create_optimizer`.
    num_steps: Steps of the whole training.
    axis_name: pmap axis; None under jit.
  """
  return steps.make_train_step(
    network,
    method,
    tx,
    create_training_augmentation(config),
    seed=config.seed,
    batch_size=config.train.batch_size,
    axis_name=axis_name,
    accumulate=config.train.accumulate,
    skip_nonfinite=config.train.on_nonfinite == "skip",
    sync_batch_norm=config.model.sync_batch_norm,
    learning_rate=create_schedule(config, num_steps),
  )


def create_schedule(
  config: ml_collections.ConfigDict, num_steps: int
) -> optax.Schedule:
  """Return the learning-rate schedule of a training of `num_steps` steps."""
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
  """Return the optimizer of a training of `num_steps` steps.

  The learning-rate multiplier of the loss is added to those of the config.
  Multipliers of the backbone apply only if it is pretrained.
  """
  options = config.optimizer
  is_pretrained = fields.trains_pretrained(config)
  return optimizer.create_optimizer(
    options.name,
    create_schedule(config, num_steps),
    weight_decay=options.weight_decay,
    momentum=options.momentum,
    multipliers=(
      *(
        (path, factor)
        for path, factor in options.multipliers
        if is_pretrained or not fields.is_of_backbone(path)
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
    features: float [N,F] of the training items, if `takes_vectors`.

  Raises:
    UserError: The pretrained weights do not fit, or the images are too small.
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
  """Return the state with the mean and scale of the training features."""
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
  statistics = {
    "mean": mean.astype(np.float32),
    # A constant feature is not scaled.
    "scale": np.where(scale > 1e-6, scale, 1).astype(np.float32),
  }
  backbone = state.params["backbone"] | statistics
  return state.replace(params=state.params | {"backbone": backbone})


def with_preprocessing(
  config: ml_collections.ConfigDict,
) -> ml_collections.ConfigDict:
  """Return the configuration with mean and std of the pretrained weights.

  Raises:
    UserError: There are no such weights.
  """
  if not config.model.pretrained:
    return config
  config = config.copy_and_resolve_references()
  if config.model.pretrained == digit_weights.NAME:
    # Known before the weights are trained.
    stats = digit_weights.PREPROCESSING
  else:
    stats = pretrained.preprocessing(
      config.model.pretrained, config.model.backbone
    )
  config.data.mean, config.data.std = stats.mean, stats.std
  return config


def weights_source(config: ml_collections.ConfigDict) -> str:
  """Return the file or Hub id of the pretrained weights.

  Those of the digits are trained if needed; raise as `digit_weights.prepare`.
  """
  if config.model.pretrained != digit_weights.NAME:
    return config.model.pretrained
  return digit_weights.prepare(
    config.model.backbone, config.data.dir or data.cache_dir()
  )
