"""Pooling: maxima with a gradient that is cheap on a CPU, and averages."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np


def max_pool(
  x: jax.Array, window: int, stride: int, padding: int = 0
) -> jax.Array:
  """Largest value of every window; the first of equals gets the gradient.

  Flax's pooling, except on a CPU, where its gradient, select-and-scatter, is
  slow.

  Args:
    x: float [B,H,W,C].
    window: Height and width of a window.
    stride: Step between windows, in both directions.
    padding: Rows and columns of -infinity around the image, on every side.

  Returns:
    float [B,H',W',C] with H' = (H + 2 padding - window) // stride + 1.
  """

  def pool(x):
    edges = ((padding, padding), (padding, padding))
    return nn.max_pool(x, (window, window), (stride, stride), edges)

  return jax.lax.platform_dependent(
    x,
    cpu=lambda x: max_pool_by_axis(x, window, stride, padding),
    default=pool,
  )


def max_pool_by_axis(
  x: jax.Array, window: int, stride: int, padding: int = 0
) -> jax.Array:
  """Pools columns and rows one after the other, as `max_pool`.

  The forward pass keeps which place of a window was largest, and in the
  backward pass every input looks up the windows that it is in. To compare
  inputs with the maximum there instead would lose gradients: XLA may compute
  an input a second time and round it differently.

  Args:
    x: As in `max_pool`.
    window: As in `max_pool`.
    stride: As in `max_pool`.
    padding: As in `max_pool`.

  Returns:
    As `max_pool`.
  """
  for axis in (2, 1):
    x = _pool(x, axis, x.shape[axis], window, stride, padding)
  return x


@functools.partial(jax.custom_vjp, nondiff_argnums=(1, 2, 3, 4, 5))
def _pool(x, axis, size, window, stride, padding):
  return _pool_forward(x, axis, size, window, stride, padding)[0]


def _places(x, axis, size, window, stride, padding):
  """For each place in a window, its value in every window along the axis."""
  edges = [(0, 0, 0)] * x.ndim
  edges[axis] = (padding, padding, 0)
  x = jax.lax.pad(x, jnp.array(-jnp.inf, x.dtype), edges)
  last = (size + 2 * padding - window) // stride * stride
  return [
    jax.lax.slice_in_dim(x, place, place + last + 1, stride, axis)
    for place in range(window)
  ]


def _pool_forward(x, *where):
  largest, *others = _places(x, *where)
  winner = jnp.zeros(largest.shape, jnp.int8)
  for place, values in enumerate(others, start=1):
    winner = jnp.where(values > largest, jnp.int8(place), winner)
    largest = jnp.maximum(largest, values)
  return largest, winner


def _pool_backward(axis, size, window, stride, padding, winner, gradient):
  result = 0
  other_axes = [i for i in range(winner.ndim) if i != axis]
  offset = np.arange(size) + padding
  # The last window that an input may be in, the one before it, and so on.
  for back in range(-(-window // stride)):
    index = offset // stride - back
    place = offset % stride + back * stride
    is_in = (place < window) & (index >= 0) & (index < winner.shape[axis])
    place = np.where(is_in, place, -1).astype(np.int8)
    won, part = (
      jnp.take(values, index.clip(0, winner.shape[axis] - 1), axis, mode="clip")
      for values in (winner, gradient)
    )
    result += jnp.where(won == np.expand_dims(place, other_axes), part, 0)
  return (result,)


_pool.defvjp(_pool_forward, _pool_backward)


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
