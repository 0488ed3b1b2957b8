"""A residual network for small images that trains fast on a CPU.

One core trains about 2,000 images of 48 x 48 pixels a second at batch 128. The
image is halved first, and stages are halved by max-pooling, as a strided
convolution leaves XLA's fast path on a CPU.
"""

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from dsh_jax import errors
from dsh_jax.models import pooling, resnet

_SMALLEST = 16  # Pixels, halved four times.


class TinyResNet(nn.Module):
  """Three convolution-pooling-residual stages and a dense one.

  Attributes:
    widths: Channels of the three convolutional stages.
    num_hidden: Width of the dense stage.
    dtype, axis_name, remat: As in `hash_network.create_network`.
  """

  widths: tuple[int, ...] = (16, 32, 64)
  num_hidden: int = 256
  dtype: Any = jnp.float32
  axis_name: str | None = None
  remat: bool = False

  feature_layers = ("stage1", "stage2", "stage3", "stage4")

  @nn.compact
  def __call__(self, images: jax.Array, train: bool) -> dict[str, jax.Array]:
    """Return the spatial average of every stage, and the dense stage.

    Args:
      images: Normalised images, float [B,H,W,3], H and W at least 16.
      train: Whether BatchNorm uses the batch's statistics.

    Returns:
      Stage -> features, float32 [B,F].

    Raises:
      UserError: The image is too small.
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
    # Normalised last, so that the head gets centred features and the codes of
    # an untrained network differ, as losses over pairs need.
    x = norm(name="bn_hidden")(nn.relu(x))
    features[f"stage{len(self.widths) + 1}"] = x.astype(jnp.float32)
    return features


tiny = TinyResNet
