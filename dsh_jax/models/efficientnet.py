"""EfficientNet-Lite0, an EfficientNet for mobile processors.

Source: Tan & Le, "EfficientNet: Rethinking Model Scaling for Convolutional
Neural Networks", ICML 2019, in the "Lite" form of the authors' TPU models: no
squeeze-and-excitation, ReLU6 instead of swish, fixed widths of stem and head.
Padding is "SAME", as in TensorFlow.
Differences: no stochastic depth, no dropout; BatchNorm's momentum is 0.9
instead of 0.99.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from dsh_jax.models import convolution

_INIT = nn.initializers.variance_scaling(2.0, "fan_out", "normal")
_STEM, _HEAD = 32, 1280  # Channels.


class Stage(NamedTuple):
  """The shape of consecutive blocks; the stride is that of the first."""

  num_blocks: int
  kernel: int
  stride: int
  expansion: int
  channels: int


_LITE0 = (
  Stage(1, 3, 1, 1, 16),
  Stage(2, 3, 2, 6, 24),
  Stage(2, 5, 2, 6, 40),
  Stage(3, 3, 2, 6, 80),
  Stage(3, 5, 1, 6, 112),
  Stage(4, 5, 2, 6, 192),
  Stage(1, 3, 1, 6, 320),
)


class Block(nn.Module):
  """An inverted bottleneck: expand, depthwise convolution, project.

  Attributes:
    stage: Shape, with the stride of this block.
    conv: Convolution class.
    norm: Normalisation class.
  """

  stage: Stage
  conv: Callable[..., Any]
  norm: Callable[..., Any]

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """Map float [B,H,W,C] to [B,H/stride,W/stride,channels], rounded up."""
    _, kernel, stride, expansion, channels = self.stage
    y, width = x, x.shape[-1] * expansion
    if expansion > 1:
      y = nn.relu6(
        self.norm(name="bn0")(self.conv(width, (1, 1), name="expand_conv")(y))
      )
    y = self.conv(
      width,
      (kernel, kernel),
      strides=(stride, stride),
      feature_group_count=width,
      name="depthwise_conv",
    )(y)
    y = nn.relu6(self.norm(name="bn1")(y))
    y = self.conv(channels, (1, 1), name="project_conv")(y)
    y = self.norm(name="bn2")(y)
    return x + y if stride == 1 and x.shape[-1] == channels else y


class EfficientNetLite(nn.Module):
  """An EfficientNet-Lite without its classifier.

  Attributes:
    stages: Shapes of the blocks.
    dtype, axis_name, remat: As in `hash_network.create_network`.
  """

  stages: tuple[Stage, ...] = _LITE0
  dtype: Any = jnp.float32
  axis_name: str | None = None
  remat: bool = False

  feature_layers = (*(f"stage{n}" for n in range(1, 8)), "head")

  @nn.compact
  def __call__(self, images: jax.Array, train: bool) -> dict[str, jax.Array]:
    """Return the spatial average of every stage and of the head.

    Args:
      images: Normalised images, float [B,H,W,3].
      train: Whether BatchNorm uses the batch's statistics.

    Returns:
      Layer -> features, float32 [B,F].
    """
    conv = functools.partial(
      nn.Conv,
      use_bias=False,
      padding="SAME",
      dtype=self.dtype,
      kernel_init=_INIT,
      conv_general_dilated=convolution.conv_general_dilated,
    )
    norm = functools.partial(
      nn.BatchNorm,
      use_running_average=not train,
      momentum=0.9,
      epsilon=1e-3,
      dtype=self.dtype,
      axis_name=self.axis_name,
    )
    block = nn.remat(Block) if self.remat else Block

    def average(x):
      return jnp.mean(x, axis=(1, 2), dtype=jnp.float32)

    x = images.astype(self.dtype)
    x = conv(_STEM, (3, 3), strides=(2, 2), name="conv_stem")(x)
    x = nn.relu6(norm(name="bn0")(x))
    features, count = {}, 0
    for number, stage in enumerate(self.stages, start=1):
      for index in range(stage.num_blocks):
        shape = stage if index == 0 else stage._replace(stride=1)
        x = block(shape, conv, norm, name=f"blocks_{count}")(x)
        count += 1
      features[f"stage{number}"] = average(x)
    x = nn.relu6(norm(name="bn1")(conv(_HEAD, (1, 1), name="conv_head")(x)))
    features["head"] = average(x)
    return features


efficientnet_lite0 = EfficientNetLite
