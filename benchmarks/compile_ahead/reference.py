"""A classifier of stock Flax layers, the yardstick of our training step.

A ResNet-50 (v1.5) for 1,000 classes with per-device BatchNorm, softmax
cross-entropy, L2 in the loss and SGD with Nesterov momentum, on images that the
host has already cropped and normalised: what a plain ImageNet trainer does on
the device, and nothing else.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

NUM_CLASSES = 1000
_WEIGHT_DECAY = 1e-4


class _Block(nn.Module):
  """A bottleneck block; `channels` of the 3x3 convolution."""

  channels: int
  stride: int
  conv: Callable[..., nn.Module]
  norm: Callable[..., nn.Module]

  @nn.compact
  def __call__(self, x):
    strides = (self.stride, self.stride)
    y = nn.relu(self.norm()(self.conv(self.channels, (1, 1))(x)))
    y = nn.relu(self.norm()(self.conv(self.channels, (3, 3), strides)(y)))
    y = self.norm(scale_init=nn.initializers.zeros)(
      self.conv(4 * self.channels, (1, 1))(y)
    )
    if x.shape != y.shape:
      x = self.norm()(self.conv(4 * self.channels, (1, 1), strides)(x))
    return nn.relu(x + y)


class Classifier(nn.Module):
  """ResNet-50 with its classifier.

  Attributes:
    stage_sizes: Blocks of each stage.
    dtype: Type of the computation; parameters and statistics are float32.
  """

  stage_sizes: Sequence[int] = (3, 4, 6, 3)
  dtype: Any = jnp.bfloat16

  @nn.compact
  def __call__(self, images: jax.Array, train: bool = True) -> jax.Array:
    """Map normalised images, float [B,H,W,3], to float32 logits [B,1000]."""
    conv = functools.partial(nn.Conv, use_bias=False, dtype=self.dtype)
    norm = functools.partial(
      nn.BatchNorm,
      use_running_average=not train,
      momentum=0.9,
      epsilon=1e-5,
      dtype=self.dtype,
    )
    x = conv(64, (7, 7), (2, 2), padding=3)(images)
    x = nn.relu(norm()(x))
    x = nn.max_pool(x, (3, 3), strides=(2, 2), padding="SAME")
    for stage, size in enumerate(self.stage_sizes):
      for index in range(size):
        stride = 2 if stage > 0 and index == 0 else 1
        x = _Block(64 * 2**stage, stride, conv, norm)(x)
    x = jnp.mean(x, axis=(1, 2))
    return nn.Dense(NUM_CLASSES, dtype=self.dtype)(x).astype(jnp.float32)


def create_state(
  dtype: Any, image_size: int, key: jax.Array
) -> tuple[Any, Any, Any]:
  """Return parameters, statistics and momenta.

  Args:
    dtype: Type of the computation.
    image_size: Side of the images, pixels.
    key: PRNG key of the parameters.
  """
  images = jnp.zeros((1, image_size, image_size, 3), dtype)
  variables = Classifier(dtype=dtype).init(key, images)
  params = variables["params"]
  return params, variables["batch_stats"], _tx().init(params)


def make_train_step(dtype: Any, axis_name: str | None) -> Callable[..., Any]:
  """Return the function that takes one step.

  Args:
    dtype: Type of the computation.
    axis_name: Axis over which gradients are averaged; None for one device.

  Returns:
    (state, images [B/P,H,W,3] of `dtype`, labels int32 [B/P]) -> (state,
    metrics).
  """
  network = Classifier(dtype=dtype)

  def average(tree):
    return tree if axis_name is None else jax.lax.pmean(tree, axis_name)

  def train_step(state, images, labels):
    params, batch_stats, opt_state = state

    def objective(params):
      logits, updates = network.apply(
        {"params": params, "batch_stats": batch_stats},
        images,
        mutable=["batch_stats"],
      )
      targets = jax.nn.one_hot(labels, NUM_CLASSES)
      value = jnp.mean(optax.softmax_cross_entropy(logits, targets))
      for x in jax.tree.leaves(params):
        if x.ndim > 1:
          value += _WEIGHT_DECAY / 2 * jnp.sum(x**2)
      return value, (logits, updates["batch_stats"])

    (value, (logits, stats)), grads = jax.value_and_grad(
      objective, has_aux=True
    )(params)
    updates, opt_state = _tx().update(average(grads), opt_state, params)
    accuracy = jnp.mean(jnp.argmax(logits, axis=-1) == labels)
    metrics = average({"loss": value, "accuracy": accuracy})
    return (optax.apply_updates(params, updates), stats, opt_state), metrics

  return train_step


def _tx():
  return optax.sgd(0.1, momentum=0.9, nesterov=True)
