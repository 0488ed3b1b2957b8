"""A network and a trainer that compile quickly, for tests of steps."""

import functools

import flax.linen as nn
import jax
import numpy as np

from dsh_jax import losses, models, parallel, steps
from dsh_jax.config import optimizer
from dsh_jax.data import augment
from dsh_jax.models import hash_network

BATCH, SIZE, CLASSES, BITS = 16, 8, 5, 12


class PlainBackbone(nn.Module):
  """A convolution and optional BatchNorm."""

  batch_norm: bool
  axis_name: str | None = None

  @nn.compact
  def __call__(self, images, train=False):
    """Map float [B,H,W,3] to {"conv": [B,F]}."""
    # BatchNorm cancels a bias: its gradient would be rounding alone.
    x = nn.Conv(4, (3, 3), use_bias=not self.batch_norm)(images)
    if self.batch_norm:
      x = nn.BatchNorm(not train, momentum=0.9, axis_name=self.axis_name)(x)
    return {"conv": nn.relu(x).reshape(x.shape[0], -1)}


@functools.cache
def _first_state(network, method, tx):
  """Return the state before the first step, on the host."""

  @jax.jit
  def create(key):
    return steps.create_state(network, method, tx, (SIZE, SIZE, 3), key)

  return jax.device_get(create(jax.random.key(0)))


@functools.cache
def _loss(method):
  return losses.make_loss(method, num_bits=BITS, num_classes=CLASSES)


def _network(num_outputs, batch_norm, axis_name=None):
  return models.HashNetwork(
    backbone=PlainBackbone(batch_norm, axis_name),
    head=hash_network.HashHead(num_outputs=num_outputs),
  )


# SGD: Adam would turn rounding of a gradient near zero into a whole step.
_RULE = optimizer.create_optimizer(
  "sgd", optimizer.create_schedule("constant", 0.05, 1, 1)
)


class Trainer:
  """A state, a parallel train step and a few batches."""

  def __init__(
    self,
    kind="jit",
    num_devices=1,
    *,
    method="idhn",
    batch_norm=True,
    num_steps=3,
    sync_batch_norm=True,
    **options,
  ):
    self.mesh = parallel.DeviceMesh(kind, jax.devices()[:num_devices])
    axis = self.mesh.axis_name
    method = _loss(method)
    network = _network(method.num_outputs, batch_norm)
    self.state = self.mesh.replicate(_first_state(network, method, _RULE))
    self.network = _network(
      method.num_outputs, batch_norm, axis if sync_batch_norm else None
    )
    augmentation = augment.Augmentation(SIZE, crop_padding=2, flip=True)
    self.encode_step = steps.make_encode_step(
      self.network, method, augmentation, with_outputs=True
    )
    step = steps.make_train_step(
      self.network,
      method,
      _RULE,
      augmentation,
      seed=0,
      batch_size=BATCH,
      axis_name=axis,
      sync_batch_norm=sync_batch_norm,
      **options,
    )
    self.step = self.mesh.parallelize(steps.scan_steps(step), donate_state=True)
    rng = np.random.default_rng(0)
    shape = (num_steps, BATCH, SIZE, SIZE, 3)
    self.images = rng.integers(0, 256, shape, dtype=np.uint8)
    labels = rng.random((num_steps, BATCH, CLASSES)) < 0.4
    self.labels = labels.astype(np.uint8)

  def batch(self, first, stop):
    """Return the batches of steps first to stop - 1, on the devices."""
    batches = self.images[first:stop], self.labels[first:stop]
    return self.mesh.shard_batch(batches, batch_axis=1)

  @functools.cached_property
  def compiled(self):
    """The program of one step."""
    return self.step.lower(self.state, *self.batch(0, 1)).compile()

  def take_steps(self, per_dispatch=1):
    """Return the last state and the metrics [steps], on the host."""
    step = self.compiled if per_dispatch == 1 else self.step
    metrics = []
    for first in range(0, len(self.images), per_dispatch):
      batch = self.batch(first, first + per_dispatch)
      self.state, outcome = step(self.state, *batch)
      metrics.append(self.mesh.fetch(outcome))
    metrics = jax.tree.map(lambda *x: np.concatenate(x), *metrics)
    return self.mesh.fetch(self.state), metrics


def assert_equal_to_rounding(actual, expected):
  """Assert that two trees agree to 3e-5 of the largest value of a leaf."""
  for (path, x), (_, y) in zip(
    jax.tree_util.tree_leaves_with_path(actual),
    jax.tree_util.tree_leaves_with_path(expected),
    strict=True,
  ):
    scale = max(1e-3, float(np.abs(y).max(initial=0)))
    np.testing.assert_allclose(
      x / scale, y / scale, atol=3e-5, err_msg=jax.tree_util.keystr(path)
    )
