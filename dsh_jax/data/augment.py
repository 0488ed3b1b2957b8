"""Random crop, flip and normalisation on the device."""

import dataclasses

import jax
import jax.numpy as jnp


@dataclasses.dataclass(frozen=True)
class Augmentation:
  """Conversion of stored uint8 images to the input of the network.

  Random numbers are drawn for the whole global batch and sliced, so the result
  does not depend on the number of devices.

  Attributes:
    crop_size: Side of the result, pixels, at most H and W.
    crop_padding: Black border added before a random crop, pixels, >= 0.
    flip: Whether to mirror half of the images at random.
    mean: Mean of each channel, as a share of 255.
    std: Standard deviation of each channel, as a share of 255, > 0.
  """

  crop_size: int
  crop_padding: int = 0
  flip: bool = False
  mean: tuple[float, ...] = (0.5, 0.5, 0.5)
  std: tuple[float, ...] = (0.25, 0.25, 0.25)

  def __call__(
    self,
    key: jax.Array,
    images: jax.Array,
    batch_size: int,
    first: int | jax.Array = 0,
  ) -> jax.Array:
    """Crop and flip at random, then normalise.

    Args:
      key: PRNG key of this step, the same on every device.
      images: uint8 [B/P,H,W,3], images first, first + 1, ... of the batch.
      batch_size: B, the global batch.
      first: Index of the first image in the global batch; may be traced.

    Returns:
      float32 [B/P,crop_size,crop_size,3].
    """
    count, height, width, _ = images.shape
    crop_key, flip_key = jax.random.split(key)
    pad = self.crop_padding
    last = jnp.array([height, width], jnp.int32) + 2 * pad - self.crop_size
    corners = jax.random.randint(
      crop_key, (batch_size, 2), 0, (last + 1)[None, :], jnp.int32
    )
    corners = jax.lax.dynamic_slice_in_dim(corners, first, count)
    flips = jnp.zeros((count,), bool)
    if self.flip:
      flips = jax.random.bernoulli(flip_key, shape=(batch_size,))
      flips = jax.lax.dynamic_slice_in_dim(flips, first, count)
    # A TPU would copy the slices of images one by one.
    images = jax.lax.platform_dependent(
      images,
      corners,
      flips,
      tpu=self._crop_by_products,
      default=self._crop_by_slices,
    )
    return self._normalize(images)

  def without_randomness(self, images: jax.Array) -> jax.Array:
    """Crop the centre and normalise.

    Args:
      images: uint8 [B,H,W,3].

    Returns:
      float32 [B,crop_size,crop_size,3].
    """
    size = self.crop_size
    top, left = ((side - size) // 2 for side in images.shape[1:3])
    return self._normalize(images[:, top : top + size, left : left + size, :])

  def _crop_by_slices(self, images, corners, flips):
    pad = self.crop_padding
    size = (self.crop_size, self.crop_size, images.shape[-1])
    images = jnp.pad(images, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
    images = jax.vmap(
      lambda image, corner: jax.lax.dynamic_slice(
        image, (corner[0], corner[1], 0), size
      )
    )(images, corners)
    if self.flip:
      images = jnp.where(
        flips[:, None, None, None], images[:, :, ::-1, :], images
      )
    return images.astype(jnp.float32)

  def _crop_by_products(self, images, corners, flips):
    """Select rows, then columns, by matrices of 0 and 1.

    The products are exact: bfloat16 holds the integers up to 256, and every sum
    has at most one term.
    """
    offset = jnp.arange(self.crop_size)[None, :]
    rows = corners[:, :1] + offset
    columns = corners[:, 1:] + jnp.where(
      flips[:, None], self.crop_size - 1 - offset, offset
    )

    def select(index, size):
      index = (index - self.crop_padding)[:, :, None]
      return (index == jnp.arange(size)[None, None, :]).astype(jnp.bfloat16)

    _, height, width, _ = images.shape
    x = images.astype(jnp.bfloat16)
    x = jnp.einsum("bih,bhwc->biwc", select(rows, height), x)
    x = jnp.einsum("bjw,biwc->bijc", select(columns, width), x)
    return x.astype(jnp.float32)

  def _normalize(self, images):
    mean = jnp.array(self.mean, jnp.float32)[None, None, None, :]
    std = jnp.array(self.std, jnp.float32)[None, None, None, :]
    return (images.astype(jnp.float32) / 255 - mean) / std


class Unchanged:
  """The counterpart of `Augmentation` for vectors: a cast to float32."""

  def __call__(
    self,
    key: jax.Array,
    vectors: jax.Array,
    batch_size: int,
    first: int | jax.Array = 0,
  ) -> jax.Array:
    """Return vectors float [B/P,F] in float32."""
    del key, batch_size, first  # Nothing is random.
    return vectors.astype(jnp.float32)

  def without_randomness(self, vectors: jax.Array) -> jax.Array:
    """Return vectors float [B,F] in float32."""
    return vectors.astype(jnp.float32)
