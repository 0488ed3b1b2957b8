"""Convolution that is fast on a CPU."""

import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

# Images per chunk. With 4, ResNet-18 at 224 x 224, batch 32, trains 1.24 times
# faster on one core than without chunks.
_CHUNK = 4
_MAX_CHUNKS = 8  # More take longer to compile and are no faster.


def conv_general_dilated(
  images: jax.Array,
  kernel: jax.Array,
  window_strides: Sequence[int],
  padding: str | Sequence[tuple[int, int]],
  **options: Any,
) -> jax.Array:
  """Replace `jax.lax.conv_general_dilated` in `flax.linen.Conv`.

  It differs only on a CPU, and only by rounding:

  - The kernel gradient, a convolution over the batch, slows down as the batch
    grows. It is summed over chunks of the batch.
  - If an image is smaller than the kernel, XLA swaps the two, which made a step
    of ResNet-18 at 64 x 64 pixels 11 times slower. The convolution becomes a
    matrix product.
  - Groups of one channel have no fast path. A weighted sum of shifted images is
    3.5 to 18 times faster, forward, at the shapes of EfficientNet-Lite0.

  Args:
    images: float [B,H,W,C].
    kernel: float [height,width,C,channels], or [height,width,1,C].
    window_strides: Of rows and columns.
    padding: "SAME", "VALID", or (before, after) of rows and columns.
    **options: Of `jax.lax.conv_general_dilated`.

  Returns:
    [B,H',W',channels] of the type of the images.
  """

  def convolve(images, kernel):
    return jax.lax.conv_general_dilated(
      images, kernel, window_strides, padding, **options
    )

  def convolve_on_cpu(images, kernel):
    if is_plain and groups == kernel.shape[3] > 1 and padding == "SAME":
      return _depthwise(images, kernel, window_strides)
    if is_plain and groups == 1 and is_small and not isinstance(padding, str):
      return _matmul(images, kernel, window_strides, padding, result.shape)
    return _with_chunked_gradient(convolve, images, kernel)

  result = jax.eval_shape(convolve, images, kernel)
  smallest = min(math.prod(x.shape[1:3]) for x in (images, result))
  is_small = smallest < math.prod(kernel.shape[:2])
  groups = options.get("feature_group_count", 1)
  dilations = [options.get(f"{side}hs_dilation") or () for side in "lr"]
  is_plain = {x for dilation in dilations for x in dilation} <= {1}
  return jax.lax.platform_dependent(
    images, kernel, cpu=convolve_on_cpu, default=convolve
  )


def _depthwise(images, kernel, strides):
  sizes = [-(-n // s) for n, s in zip(images.shape[1:3], strides, strict=True)]
  padding = []
  for axis in (0, 1):
    span = (sizes[axis] - 1) * strides[axis] + kernel.shape[axis]
    total = max(span - images.shape[1 + axis], 0)
    padding.append((total // 2, total - total // 2))
  images = jnp.pad(images, ((0, 0), *padding, (0, 0)))
  # Otherwise XLA recomputes the preceding layers for every shift.
  images = jax.lax.optimization_barrier(images)
  weights = kernel.reshape(-1, 1, 1, 1, kernel.shape[-1])
  shifted = _shifted(images, kernel.shape, strides, sizes)
  return sum(x * weight for x, weight in zip(shifted, weights, strict=True))


def _matmul(images, kernel, strides, padding, shape):
  images = jnp.pad(images, ((0, 0), *padding, (0, 0)))
  patches = _shifted(images, kernel.shape, strides, shape[1:3])
  matrix = kernel.reshape(-1, kernel.shape[-1])
  return jnp.concatenate(patches, axis=-1) @ matrix


def _shifted(images, kernel_shape, strides, sizes):
  """Return the input [B,*sizes,C] of every position in the kernel."""
  (down, right), (height, width) = strides, sizes
  return [
    images[
      :,
      row : row + down * (height - 1) + 1 : down,
      column : column + right * (width - 1) + 1 : right,
    ]
    for row in range(kernel_shape[0])
    for column in range(kernel_shape[1])
  ]


def _with_chunked_gradient(convolve, images, kernel):
  def kernel_gradient(images, gradient):
    transpose = jax.linear_transpose(lambda k: convolve(images, k), kernel)
    return transpose(gradient)[0]

  def chunked_kernel_gradient(images, gradient):
    batch = len(images)
    size = max(_CHUNK, -(-batch // _MAX_CHUNKS))
    chunks = [slice(i, i + size) for i in range(0, batch, size)]
    return sum(kernel_gradient(images[c], gradient[c]) for c in chunks)

  def forward(images, kernel):
    return convolve(images, kernel), (images, kernel)

  def backward(residuals, gradient):
    images, kernel = residuals
    transpose = jax.linear_transpose(lambda x: convolve(x, kernel), images)
    return *transpose(gradient), chunked_kernel_gradient(images, gradient)

  differentiable = jax.custom_vjp(convolve)
  differentiable.defvjp(forward, backward)
  return differentiable(images, kernel)
