"""AlexNet in the forms of torchvision, of Caffe (two) and of DSRH's release.

Sources:
  alexnet: torchvision, after Krizhevsky, "One weird trick for parallelizing
    convolutional neural networks", 2014. Dropout precedes both fully connected
    layers; it follows them in the other forms.
  alexnet_caffe: the BVLC release of Krizhevsky et al., "ImageNet Classification
    with Deep Convolutional Neural Networks", NIPS 2012: two convolution groups,
    response normalisation, images of 227 x 227.
  caffenet: also from BVLC; pools before it normalises, as IDHN's release does.
  alexnet_dsrh: cuda-convnet2's network on one GPU, in the release of Zhao et
    al., CVPR 2015: the widths of torchvision, images of 224 x 224,
    normalisation by (2 + ...)^0.75 before pooling, in stage 1 before relu.
Differences: Caffe and cuda-convnet2 round output sizes up and clip windows at
the border. Here sizes round down, and DSRH's first layer is padded by the 3
rows and columns that 224 x 224 lacks; at 227 x 227 no window is clipped.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from dsh_jax import errors
from dsh_jax.models import pooling

# PyTorch's default: uniform within 1/sqrt(inputs).
_INIT = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")
_SIDE = 6  # Side of the feature map that the fully connected layers read.


@dataclasses.dataclass(frozen=True)
class Stage:
  """The shape of a convolution and the layers after it.

  Attributes:
    channels: Output channels.
    kernel: Height and width.
    stride: Of rows and columns.
    padding: Zeros (before, after) rows and columns.
    groups: Channel groups.
    after: Layers in order: "relu", "pool" (3x3 maxima, stride 2) or "normalize"
      (`normalize_responses`).
    normalize_bias: `bias` of "normalize".
  """

  channels: int
  kernel: int
  stride: int = 1
  padding: tuple[int, int] = (1, 1)
  groups: int = 1
  after: tuple[str, ...] = ("relu",)
  normalize_bias: float = 1.0


_POOL = ("relu", "pool")
_NORMALIZE_POOL = ("relu", "normalize", "pool")
_POOL_NORMALIZE = ("relu", "pool", "normalize")
_TORCHVISION = (
  Stage(64, kernel=11, stride=4, padding=(2, 2), after=_POOL),
  Stage(192, kernel=5, padding=(2, 2), after=_POOL),
  Stage(384, kernel=3),
  Stage(256, kernel=3),
  Stage(256, kernel=3, after=_POOL),
)
_CAFFE = (
  Stage(96, kernel=11, stride=4, padding=(0, 0), after=_NORMALIZE_POOL),
  Stage(256, kernel=5, padding=(2, 2), groups=2, after=_NORMALIZE_POOL),
  Stage(384, kernel=3),
  Stage(384, kernel=3, groups=2),
  Stage(256, kernel=3, groups=2, after=_POOL),
)
_CAFFENET = tuple(
  dataclasses.replace(stage, after=_POOL_NORMALIZE)
  if "normalize" in stage.after
  else stage
  for stage in _CAFFE
)
_DSRH = (
  Stage(
    64,
    kernel=11,
    stride=4,
    padding=(0, 3),
    after=("normalize", "pool", "relu"),
    normalize_bias=2.0,
  ),
  Stage(
    192,
    kernel=5,
    padding=(2, 2),
    after=_NORMALIZE_POOL,
    normalize_bias=2.0,
  ),
  Stage(384, kernel=3),
  Stage(256, kernel=3),
  Stage(256, kernel=3, after=_POOL),
)


class ConvolutionStage(nn.Module):
  """A convolution and the layers after it, computed in `dtype`."""

  stage: Stage
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """Map float [B,H,W,C] to [B,H',W',channels] of type `dtype`."""
    x = nn.Conv(
      self.stage.channels,
      (self.stage.kernel, self.stage.kernel),
      strides=(self.stage.stride, self.stage.stride),
      padding=(self.stage.padding, self.stage.padding),
      feature_group_count=self.stage.groups,
      kernel_init=_INIT,
      dtype=self.dtype,
      name="conv",
    )(x)
    layers = {
      "relu": nn.relu,
      "pool": functools.partial(pooling.max_pool, window=3, stride=2),
      "normalize": functools.partial(
        normalize_responses, bias=self.stage.normalize_bias
      ),
    }
    for name in self.stage.after:
      x = layers[name](x)
    return x


class AlexNet(nn.Module):
  """AlexNet without its classifier.

  Attributes:
    stages: The convolutions.
    dropout_after: Whether dropout follows the fully connected layers instead of
      preceding them (torchvision).
    dtype, axis_name, remat: As in `hash_network.create_network`.
      There is no BatchNorm.
    dropout_rate: Fraction of activations that training drops.
  """

  stages: Sequence[Stage] = _TORCHVISION
  dropout_after: bool = False
  dtype: Any = jnp.float32
  axis_name: str | None = None
  remat: bool = False
  dropout_rate: float = 0.5

  feature_layers = ("fc6", "fc7")

  @nn.compact
  def __call__(self, images: jax.Array, train: bool) -> dict[str, jax.Array]:
    """Return the outputs of the two fully connected layers.

    Args:
      images: Normalised images, float [B,H,W,3], H and W at least 63 (67 for
        the Caffe forms, 64 for DSRH's).
      train: Whether to apply dropout.

    Returns:
      "fc6" and "fc7", [B,4096] of type `dtype`, after relu. With
      `dropout_after`, dropout is applied to fc7 but not to fc6, as DSRH does.

    Raises:
      UserError: The image is too small for the three max-pools.
    """
    first = self.stages[0]
    smallest = first.kernel + 14 * first.stride - sum(first.padding)
    if min(images.shape[1:3]) < smallest:
      raise errors.too_small("This AlexNet", smallest, images.shape)
    stage_class = nn.remat(ConvolutionStage) if self.remat else ConvolutionStage
    x = images.astype(self.dtype)
    for index, stage in enumerate(self.stages, start=1):
      x = stage_class(stage, self.dtype, name=f"conv{index}")(x)
    x = pooling.adaptive_average_pool(x, _SIDE)
    x = x.reshape(x.shape[0], -1)
    features = {}
    for name in self.feature_layers:
      drop = nn.Dropout(self.dropout_rate, deterministic=not train)
      if not self.dropout_after:
        x = drop(x)
      x = nn.Dense(4096, kernel_init=_INIT, dtype=self.dtype, name=name)(x)
      features[name] = x = nn.relu(x)
      if self.dropout_after:
        x = drop(x)
    return {**features, "fc7": x}


def normalize_responses(
  x: jax.Array,
  size: int = 5,
  alpha: float = 1e-4,
  beta: float = 0.75,
  bias: float = 1.0,
) -> jax.Array:
  """Divide by (bias + alpha/size * sum of squares of nearby channels)^beta.

  Computed in float32.

  Source: Krizhevsky et al., NIPS 2012, with alpha divided by the size as in
  Caffe and PyTorch.

  Args:
    x: float [B,H,W,C].
    size: Number of channels in a neighbourhood, odd.
    alpha: Weight of the mean square.
    beta: Exponent.
    bias: > 0.

  Returns:
    float [B,H,W,C] of the type of x.
  """
  squares = jnp.square(x.astype(jnp.float32))
  reach = size // 2
  squares = jnp.pad(squares, ((0, 0), (0, 0), (0, 0), (reach, reach)))
  total = sum(
    squares[..., first : first + x.shape[-1]] for first in range(size)
  )
  return (x * (bias + alpha / size * total) ** -beta).astype(x.dtype)


alexnet = AlexNet
alexnet_caffe: Callable[..., AlexNet] = functools.partial(
  AlexNet, stages=_CAFFE, dropout_after=True
)
caffenet: Callable[..., AlexNet] = functools.partial(
  AlexNet, stages=_CAFFENET, dropout_after=True
)
alexnet_dsrh: Callable[..., AlexNet] = functools.partial(
  AlexNet, stages=_DSRH, dropout_after=True
)
