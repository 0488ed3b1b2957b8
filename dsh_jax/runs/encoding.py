"""Images to packed hash codes, in batches of one shape."""

from collections.abc import Callable
from typing import Any

import numpy as np

from dsh_jax import parallel
from dsh_jax.retrieval import codes


class BatchEncoder:
  """Encodes any number of images with one compiled program."""

  def __init__(
    self,
    encode_step: Callable,
    mesh: parallel.DeviceMesh,
    batch_size: int,
  ):
    """Lifts the step.

    Args:
      encode_step: From `steps.make_encode_step`.
      mesh: Where it runs.
      batch_size: Images at once, at least 1; rounded up to a multiple of the
        devices.
    """
    self._step = mesh.parallelize(encode_step)
    self._mesh = mesh
    self._batch_size = -(-batch_size // mesh.num_devices) * mesh.num_devices

  def __call__(
    self,
    weights: Any,
    take: Callable[[np.ndarray], np.ndarray],
    num_images: int,
  ) -> np.ndarray:
    """Encodes images 0 to num_images - 1.

    Args:
      weights: (params, batch_stats), from `DeviceMesh.replicate`.
      take: Indices int [n] -> images uint8 [n,H,W,3].
      num_images: N, at least 1.

    Returns:
      Packed codes, uint32 [N, ceil(K/32)], on every host.

    Raises:
      UserError: The network gives NaN.
    """
    size = self._batch_size
    mine = self._mesh.local_rows(size)
    waiting, packed = [], []

    def finish(outputs):
      packed.append(codes.pack(self._mesh.gather(outputs)))

    for first in range(0, num_images, size):
      # The last batch is filled up with copies of the last image.
      rows = np.minimum(np.arange(first, first + size), num_images - 1)
      images = self._mesh.shard_batch(take(rows[mine]))
      waiting.append(self._step(weights, images))
      if len(waiting) > 1:  # The device works while the host reads.
        finish(waiting.pop(0))
    for outputs in waiting:
      finish(outputs)
    return np.concatenate(packed)[:num_images]
