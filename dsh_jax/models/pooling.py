"""Pooling: maxima with a gradient that is cheap on a CPU, and averages."""

import functools

import jax
import jax.numpy as jnp
import numpy as np


def max_pool(
  x: jax.Array, window: int, stride: int, padding: int = 0
) -> jax.Array:
  """Largest value of every window, as a maximum over strided slices.

  The gradient of a windowed reduction is select-and-scatter, which is slow on
  a CPU; that of a maximum of slices is a few elementwise operations. Where
  several elements of a window share the maximum they share its gradient.

  Args:
    x: float [B,H,W,C].
    window: Height and width of a window.
    stride: Step between windows, in both directions.
    padding: Rows and columns of -infinity around the image, on every side.

  Returns:
    float [B,H',W',C] with H' = (H + 2 padding - window) // stride + 1.
  """
  edge = (padding, padding, 0)
  x = jax.lax.pad(
    x,
    jnp.array(-jnp.inf, x.dtype),
    ((0, 0, 0), edge, edge, (0, 0, 0)),
  )
  height = (x.shape[1] - window) // stride + 1
  width = (x.shape[2] - window) // stride + 1
  slices = [
    x[
      :,
      row : row + stride * (height - 1) + 1 : stride,
      column : column + stride * (width - 1) + 1 : stride,
    ]
    for row in range(window)
    for column in range(window)
  ]
  return functools.reduce(jnp.maximum, slices)


def adaptive_average_pool(x: jax.Array, side: int) -> jax.Array:
  """Averages an image of any size into side x side bins.

  Bin i of a row of n pixels covers floor(i n / side) up to, and without,
  ceil((i + 1) n / side), so bins overlap where side does not divide n.

  Args:
    x: float [B,H,W,C].
    side: Height and width of the result.

  Returns:
    float [B,side,side,C] of the type of x.

  Source: PyTorch's adaptive_avg_pool2d.
  """
  if x.shape[1:3] == (side, side):
    return x
  rows, columns = (_bins(size, side, x.dtype) for size in x.shape[1:3])
  return jnp.einsum("bhwc,ih,jw->bijc", x, rows, columns)


def _bins(size: int, side: int, dtype) -> jax.Array:
  """The [side,size] matrix that averages a row of `size` into `side` bins."""
  index = np.arange(side)[:, None]
  place = np.arange(size)[None, :]
  first, last = index * size // side, -((index + 1) * size // -side)
  inside = (place >= first) & (place < last)
  return jnp.asarray(inside / inside.sum(1, keepdims=True), dtype)
