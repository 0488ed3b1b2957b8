"""Residual networks: ResNet-18, 34, 50, 101 (v1.5).

Source: He et al., "Deep Residual Learning for Image Recognition", CVPR 2016.
Version 1.5 puts the stride of a bottleneck on its 3x3 convolution, as common
pretrained weights do. Padding is symmetric, as in PyTorch; "SAME" is not at
stride 2.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from dsh_jax.models import convolution, normalization, pooling

Module = Callable[..., Any]

# Initialiser of layers followed by a relu.
KAIMING = nn.initializers.variance_scaling(2.0, "fan_out", "normal")


class BasicBlock(nn.Module):
  """Two 3x3 convolutions and a shortcut.

  Attributes:
    channels: Output channels.
    stride: Of the first convolution and of the shortcut.
    conv: Convolution class.
    norm: Normalisation class.
  """

  channels: int
  stride: int
  conv: Module
  norm: Module

  expansion = 1

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """Map float [B,H,W,C] to [B,H/stride,W/stride,channels], rounded up."""
    strides = (self.stride, self.stride)
    y = self.conv(
      self.channels, (3, 3), strides=strides, padding=1, name="conv1"
    )(x)
    y = nn.relu(self.norm(name="bn1")(y))
    y = self.conv(self.channels, (3, 3), padding=1, name="conv2")(y)
    y = self.norm(name="bn2")(y)
    return nn.relu(y + _shortcut(self, x, y.shape[-1]))


class BottleneckBlock(nn.Module):
  """1x1, 3x3 and 1x1 convolutions and a shortcut.

  Attributes:
    channels: Channels of the 3x3 convolution; the output has 4 times as many.
    stride: Of the 3x3 convolution and of the shortcut.
    conv: Convolution class.
    norm: Normalisation class.
  """

  channels: int
  stride: int
  conv: Module
  norm: Module

  expansion = 4

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """Map float [B,H,W,C] to [B,H/stride,W/stride,4*channels], rounded up."""
    strides = (self.stride, self.stride)
    y = self.conv(self.channels, (1, 1), name="conv1")(x)
    y = nn.relu(self.norm(name="bn1")(y))
    y = self.conv(
      self.channels, (3, 3), strides=strides, padding=1, name="conv2"
    )(y)
    y = nn.relu(self.norm(name="bn2")(y))
    y = self.conv(self.expansion * self.channels, (1, 1), name="conv3")(y)
    y = self.norm(name="bn3")(y)
    return nn.relu(y + _shortcut(self, x, y.shape[-1]))


def _shortcut(
  block: BasicBlock | BottleneckBlock, x: jax.Array, channels: int
) -> jax.Array:
  """Return the input, projected if the block changes its shape."""
  if block.stride == 1 and x.shape[-1] == channels:
    return x
  strides = (block.stride, block.stride)
  x = block.conv(channels, (1, 1), strides=strides, name="downsample_conv")(x)
  return block.norm(name="downsample_bn")(x)


class ResNet(nn.Module):
  """A residual network without its classifier.

  Attributes:
    stage_sizes: Blocks per stage.
    block: Class of the blocks.
    width: Channels of the first stage; each stage doubles them.
    dtype, axis_name, remat: As in `hash_network.create_network`.
  """

  stage_sizes: Sequence[int]
  block: Callable[..., nn.Module] = BasicBlock
  width: int = 64
  dtype: Any = jnp.float32
  axis_name: str | None = None
  remat: bool = False

  feature_layers = ("stage1", "stage2", "stage3", "stage4")

  @nn.compact
  def __call__(self, images: jax.Array, train: bool) -> dict[str, jax.Array]:
    """Return the spatial average of every stage.

    Args:
      images: Normalised images, float [B,H,W,3].
      train: Whether BatchNorm uses the batch's statistics.

    Returns:
      Stage -> features, float32 [B,F].
    """
    conv = functools.partial(
      nn.Conv,
      use_bias=False,
      dtype=self.dtype,
      kernel_init=KAIMING,
      conv_general_dilated=convolution.conv_general_dilated,
    )
    norm = functools.partial(
      normalization.BatchNorm,
      use_running_average=not train,
      dtype=self.dtype,
      axis_name=self.axis_name,
    )
    block = nn.remat(self.block) if self.remat else self.block
    x = images.astype(self.dtype)
    x = conv(self.width, (7, 7), strides=(2, 2), padding=3, name="conv1")(x)
    # relu after pooling gives the same result on a quarter of the values.
    pool = functools.partial(pooling.max_pool, window=3, stride=2, padding=1)
    x = nn.relu(norm(name="bn1")(x, pool))
    features = {}
    for stage, size in enumerate(self.stage_sizes):
      for index in range(size):
        x = block(
          channels=self.width * 2**stage,
          stride=2 if stage > 0 and index == 0 else 1,
          conv=conv,
          norm=norm,
          name=f"layer{stage + 1}_{index}",
        )(x)
      features[f"stage{stage + 1}"] = jnp.mean(
        x, axis=(1, 2), dtype=jnp.float32
      )
    return features


resnet18 = functools.partial(ResNet, stage_sizes=(2, 2, 2, 2))
resnet34 = functools.partial(ResNet, stage_sizes=(3, 4, 6, 3))
resnet50 = functools.partial(
  ResNet, stage_sizes=(3, 4, 6, 3), block=BottleneckBlock
)
resnet101 = functools.partial(
  ResNet, stage_sizes=(3, 4, 23, 3), block=BottleneckBlock
)
