"""Max-pooling whose gradient is cheap on a CPU."""

import functools

import jax
import jax.numpy as jnp


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
