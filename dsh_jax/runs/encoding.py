"""Images to packed hash codes, in batches of one shape."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dsh_jax import errors, parallel
from dsh_jax.data import batches

_AHEAD = 2  # Batches read ahead, and batches on the devices, at a time.
_JOINED = 32  # Batches whose codes are transferred to the host at once.


def check_finite(has_nan: np.ndarray) -> None:
  """Check that a network gave numbers.

  Args:
    has_nan: bool [N], images for which it gave NaN.

  Raises:
    NonFiniteError: There are such images.
  """
  if np.any(has_nan):
    raise errors.NonFiniteError(
      f"The network gives NaN for {np.sum(has_nan)} of {len(has_nan)} images:"
      " its training has diverged. Lower config.optimizer.learning_rate and"
      " train again with another --workdir."
    )


class BatchEncoder:
  """Encodes any number of images with one compiled program.

  Attributes:
    encode: The program: weights and a batch -> words uint32 of NaNs and packed
      codes, then what the step returns besides.
  """

  def __init__(
    self,
    encode_step: Callable,
    mesh: parallel.DeviceMesh,
    batch_size: int,
  ):
    """Compile nothing yet.

    Args:
      encode_step: From `steps.make_encode_step`.
      mesh: Where it runs.
      batch_size: Images that each device encodes at once, at least 1.
    """

    def encode(weights, images):
      packed, has_nan, *outputs = encode_step(weights, images)
      self._num_words = packed.shape[1]
      has_nan = has_nan[:, None].astype(jnp.uint32)
      return jnp.concatenate([has_nan, packed], axis=1), *outputs

    def join(encoded):
      # Everything is transferred as words, outputs bit for bit.
      words = jax.tree.map(
        lambda x: jax.lax.bitcast_convert_type(x, jnp.uint32), encoded
      )
      return jnp.stack([jnp.concatenate(parts, axis=1) for parts in words])

    self.encode = mesh.parallelize(encode)
    self._join = mesh.parallelize(join)
    self._mesh = mesh
    self._batch_size = batch_size * mesh.num_devices

  def __call__(
    self,
    weights: Any,
    take: Callable[[np.ndarray], np.ndarray],
    num_images: int,
    check: Callable[[], None] = lambda: None,
  ) -> np.ndarray:
    """Return only the codes of `with_outputs`; fetch no outputs."""
    rows = self._rows(weights, take, num_images, check, with_outputs=False)
    return np.ascontiguousarray(rows)

  def with_outputs(
    self,
    weights: Any,
    take: Callable[[np.ndarray], np.ndarray],
    num_images: int,
    check: Callable[[], None] = lambda: None,
  ) -> tuple[np.ndarray, np.ndarray]:
    """Encode images 0 to num_images - 1.

    Args:
      weights: (params, batch_stats), from `DeviceMesh.replicate`.
      take: Indices int [n] -> images uint8 [n,H,W,3]; called from threads.
      num_images: N, at least 1.
      check: Called after each batch; may raise to break off.

    Returns:
      Packed codes, uint32 [N, ceil(K/32)], and real-valued outputs, float32
      [N,K], on every host; [N,0] if the step returns no outputs.

    Raises:
      NonFiniteError: As `check_finite`.
    """
    rows = self._rows(weights, take, num_images, check, with_outputs=True)
    packed, outputs = np.split(rows, [self._num_words], axis=1)
    return (
      np.ascontiguousarray(packed),
      np.ascontiguousarray(outputs).view(np.float32),
    )

  def _rows(self, weights, take, num_images, check, with_outputs):
    """Return packed codes, and optionally the bits of outputs, uint32."""
    size = self._batch_size
    mine = self._mesh.local_rows(size)

    def read(index):
      # The last batch is padded with copies of the last image.
      rows = np.minimum(np.arange(size) + index * size, num_images - 1)
      return self._mesh.shard_batch(take(rows[mine]))

    num_batches = -(-num_images // size)
    encoded, joined = [], []
    for images in batches.prefetch(read, 0, num_batches, _AHEAD):
      codes, *outputs = self.encode(weights, images)
      encoded.append([codes, *outputs] if with_outputs else [codes])
      if len(encoded) > _AHEAD:  # More would only keep images on the devices.
        jax.block_until_ready(encoded[-1 - _AHEAD])
      if len(encoded) == _JOINED:
        joined.append(self._join(encoded))
        encoded = []
      check()
    if encoded:  # Padded, so that one program joins any number.
      encoded += encoded[-1:] * (_JOINED - len(encoded))
      joined.append(self._join(encoded))
    rows = np.concatenate([self._mesh.gather(batch) for batch in joined])
    rows = rows[:num_images]
    check_finite(rows[:, 0] != 0)
    return rows[:, 1:]
