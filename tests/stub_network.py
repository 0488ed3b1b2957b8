"""Networks and steps that compile in a second, for tests of the step."""

import flax.linen as nn
import jax
import numpy as np

from dsh_jax import losses, models, optimizer, parallel, steps
from dsh_jax.data import augment
from dsh_jax.models import hash_network, tiny

BATCH, SIZE, CLASSES, BITS = 16, 8, 5, 12


class PlainNetwork(nn.Module):
  """A convolution and a linear layer; every image is seen on its own.

  Attributes:
    num_outputs: Width of the logits.
  """

  num_outputs: int

  @nn.compact
  def __call__(self, images, train=False):
    """Maps float [B,H,W,3] to float32 logits [B,num_outputs]."""
    del train
    x = nn.Conv(4, (3, 3), name="backbone")(images)
    x = nn.relu(x).reshape(x.shape[0], -1)
    return nn.Dense(self.num_outputs, name="head")(x)


def batch_norm_network(num_outputs, axis_name, remat=False):
  """One stage of the tiny network, with BatchNorm."""
  return models.HashNetwork(
    backbone=tiny.TinyResNet(
      widths=(4,), num_hidden=8, axis_name=axis_name, remat=remat
    ),
    head=hash_network.HashHead(num_outputs=num_outputs, axis_name=axis_name),
  )


class Trainer:
  """A state, a lifted step and the batches of a few steps."""

  def __init__(
    self,
    kind="jit",
    num_devices=1,
    *,
    method="idhn",
    batch_norm=True,
    remat=False,
    num_steps=3,
    **options,
  ):
    """Makes all of it; nothing is compiled yet but the state's creation."""
    self.spread = parallel.Parallel(kind, jax.devices()[:num_devices])
    loss = losses.make_loss(method, num_bits=BITS, num_classes=CLASSES)
    axis = self.spread.axis_name
    if batch_norm:
      self.network = batch_norm_network(loss.num_outputs, axis, remat)
    else:
      self.network = PlainNetwork(loss.num_outputs)
    # Plain gradient steps: Adam would turn rounding in a gradient near zero
    # into a whole step.
    rule = optimizer.create_optimizer(
      "sgd", optimizer.create_schedule("constant", 0.05, 1, 1)
    )
    augmentation = augment.Augmentation(SIZE, crop_padding=2, flip=True)
    self.encode_step = steps.make_encode_step(self.network, loss, augmentation)

    @jax.jit
    def create(key):
      return steps.create_state(self.network, loss, rule, SIZE, key)

    self.state = self.spread.replicate(
      jax.device_get(create(jax.random.key(0)))
    )
    step = steps.make_train_step(
      self.network,
      loss,
      rule,
      augmentation,
      seed=0,
      batch_size=BATCH,
      axis_name=axis,
      **options,
    )
    self.step = self.spread.lift(steps.scan_steps(step), donate_state=True)
    rng = np.random.default_rng(0)
    shape = (num_steps, BATCH, SIZE, SIZE, 3)
    self.images = rng.integers(0, 256, shape, dtype=np.uint8)
    chosen = rng.random((num_steps, BATCH, CLASSES)) < 0.4
    self.labels = chosen.astype(np.uint8)

  def batch(self, first, stop):
    """Returns steps first to stop - 1, on the devices."""
    some = self.images[first:stop], self.labels[first:stop]
    return self.spread.place(some, batch_axis=1)

  def take_steps(self, per_dispatch=1):
    """Returns the last state and the metrics [steps], on the host."""
    metrics = []
    for first in range(0, len(self.images), per_dispatch):
      batch = self.batch(first, first + per_dispatch)
      self.state, outcome = self.step(self.state, *batch)
      metrics.append(self.spread.fetch(outcome))
    metrics = jax.tree.map(lambda *x: np.concatenate(x), *metrics)
    return self.spread.fetch(self.state), metrics


def assert_equal_to_rounding(got, want):
  """Asserts that two trees agree to 3e-5 of the largest value of a leaf."""
  for (path, x), (_, y) in zip(
    jax.tree_util.tree_leaves_with_path(got),
    jax.tree_util.tree_leaves_with_path(want),
    strict=True,
  ):
    scale = max(1e-3, float(np.abs(y).max(initial=0)))
    np.testing.assert_allclose(
      x / scale, y / scale, atol=3e-5, err_msg=jax.tree_util.keystr(path)
    )
