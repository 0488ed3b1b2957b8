"""Random crop and flip on the device, and normalisation."""

import dataclasses

import jax
import jax.numpy as jnp


@dataclasses.dataclass(frozen=True)
class Augmentation:
  """Conversion of stored uint8 images to the input of the network.

  Random numbers are drawn for the whole global batch and then sliced, so the
  result does not depend on the number of devices.

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
    most = jnp.array([height, width], jnp.int32) + 2 * pad - self.crop_size
    corners = jax.random.randint(
      crop_key, (batch_size, 2), 0, (most + 1)[None, :], jnp.int32
    )
    corners = jax.lax.dynamic_slice_in_dim(corners, first, count)
    images = jnp.pad(images, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
    images = jax.vmap(self._crop)(images, corners)
    if self.flip:
      flips = jax.random.bernoulli(flip_key, shape=(batch_size,))
      flips = jax.lax.dynamic_slice_in_dim(flips, first, count)
      images = jnp.where(
        flips[:, None, None, None], images[:, :, ::-1, :], images
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

  def _crop(self, image, corner):
    size = (self.crop_size, self.crop_size, image.shape[-1])
    return jax.lax.dynamic_slice(image, (corner[0], corner[1], 0), size)

  def _normalize(self, images):
    mean = jnp.array(self.mean, jnp.float32)[None, None, None, :]
    std = jnp.array(self.std, jnp.float32)[None, None, None, :]
    return (images.astype(jnp.float32) / 255 - mean) / std
