"""A small residual network for small images, fast on a CPU.

At 48 x 48 pixels and batch 128, one core trains about 2,000 images a second:
the image is halved first, stages halve by max-pooling (a strided convolution
leaves XLA's fast path on CPU), and there are three instead of four.
"""

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from dsh_jax import errors
from dsh_jax.models import pooling, resnet

_SMALLEST = 16  # Pixels that are halved four times.


class TinyResNet(nn.Module):
  """Three convolution-pooling-residual stages and a dense one.

  Attributes:
    widths: Channels of the three convolutional stages.
    num_hidden: Width of the dense stage.
    dtype: Type of the computation; parameters and statistics are float32.
    axis_name: pmap axis over which BatchNorm takes its statistics, or None
      for those of the array that it sees.
    remat: Whether the backward pass computes the blocks again instead of
      keeping their activations.
  """

  widths: tuple[int, ...] = (16, 32, 64)
  num_hidden: int = 256
  dtype: Any = jnp.float32
  axis_name: str | None = None
  remat: bool = False

  feature_layers = ("stage1", "stage2", "stage3", "stage4")

  @nn.compact
  def __call__(self, images: jax.Array, train: bool) -> dict[str, jax.Array]:
    """Returns the average over the image of every stage's output.

    Args:
      images: Normalised images, float [B,H,W,3], H and W at least 16.
      train: Whether BatchNorm uses the batch's statistics.

    Returns:
      Features by stage, float32 [B,F] each; the last one, which is dense, is
      the usual choice.

    Raises:
      UserError: If the image is too small for the four halvings.
    """
    if min(images.shape[1:3]) < _SMALLEST:
      raise errors.too_small("The tiny network", _SMALLEST, images.shape)
    conv = functools.partial(
      nn.Conv, use_bias=False, dtype=self.dtype, kernel_init=resnet.KAIMING
    )
    norm = functools.partial(
      nn.BatchNorm,
      use_running_average=not train,
      momentum=0.9,
      epsilon=1e-5,
      dtype=self.dtype,
      axis_name=self.axis_name,
    )
    block = nn.remat(resnet.BasicBlock) if self.remat else resnet.BasicBlock
    x = nn.avg_pool(images.astype(self.dtype), (2, 2), strides=(2, 2))
    features = {}
    for stage, width in enumerate(self.widths, start=1):
      x = conv(width, (3, 3), padding=1, name=f"conv{stage}")(x)
      x = nn.relu(norm(name=f"bn{stage}")(x))
      x = pooling.max_pool(x, window=2, stride=2)
      x = block(width, 1, conv, norm, name=f"layer{stage}")(x)
      features[f"stage{stage}"] = jnp.mean(x, axis=(1, 2), dtype=jnp.float32)
    x = features[f"stage{len(self.widths)}"].astype(self.dtype)
    x = nn.Dense(
      self.num_hidden, use_bias=False, dtype=self.dtype, name="hidden"
    )(x)
    # Normalised last: the head sees centred features, so that the codes of an
    # untrained network differ. Losses over pairs start from there.
    x = norm(name="bn_hidden")(nn.relu(x))
    features[f"stage{len(self.widths) + 1}"] = x.astype(jnp.float32)
    return features


tiny = TinyResNet
