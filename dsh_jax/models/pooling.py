"""Max-pooling with a fast gradient on a CPU, and adaptive average pooling."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np


def max_pool(
  x: jax.Array, window: int, stride: int, padding: int = 0
) -> jax.Array:
  """Return the maximum of every window; the first maximum gets the gradient.

  It replaces Flax's pooling on a CPU, where select-and-scatter, its gradient,
  is slow.

  Args:
    x: float [B,H,W,C].
    window: Height and width of a window.
    stride: Of rows and columns.
    padding: Rows and columns of -infinity on every side.

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
  """Compute `max_pool` along columns, then along rows.

  The forward pass stores the position of each maximum in its window, and the
  backward pass looks it up. Comparing inputs with the maximum instead would
  lose gradients: XLA may recompute an input and round it differently.
  """
  for axis in (2, 1):
    x = _pool(x, axis, x.shape[axis], window, stride, padding)
  return x


@functools.partial(jax.custom_vjp, nondiff_argnums=(1, 2, 3, 4, 5))
def _pool(x, axis, size, window, stride, padding):
  return _pool_forward(x, axis, size, window, stride, padding)[0]


def _positions(x, axis, size, window, stride, padding):
  """Return, for each position in a window, its values in all windows."""
  edges = [(0, 0, 0)] * x.ndim
  edges[axis] = (padding, padding, 0)
  x = jax.lax.pad(x, jnp.array(-jnp.inf, x.dtype), edges)
  last = (size + 2 * padding - window) // stride * stride
  return [
    jax.lax.slice_in_dim(x, i, i + last + 1, stride, axis)
    for i in range(window)
  ]


def _pool_forward(x, *where):
  largest, *others = _positions(x, *where)
  winner = jnp.zeros(largest.shape, jnp.int8)
  for position, values in enumerate(others, start=1):
    winner = jnp.where(values > largest, jnp.int8(position), winner)
    largest = jnp.maximum(largest, values)
  return largest, winner


def _pool_backward(axis, size, window, stride, padding, winner, gradient):
  result = 0
  other_axes = [i for i in range(winner.ndim) if i != axis]
  offset = np.arange(size) + padding
  # From the last window that contains an input, backwards.
  for back in range(-(-window // stride)):
    index = offset // stride - back
    position = offset % stride + back * stride
    inside = (position < window) & (index >= 0) & (index < winner.shape[axis])
    position = np.where(inside, position, -1).astype(np.int8)
    winners, gradients = (
      jnp.take(values, index.clip(0, winner.shape[axis] - 1), axis, mode="clip")
      for values in (winner, gradient)
    )
    is_winner = winners == np.expand_dims(position, other_axes)
    result += jnp.where(is_winner, gradients, 0)
  return (result,)


_pool.defvjp(_pool_forward, _pool_backward)


def adaptive_average_pool(x: jax.Array, side: int) -> jax.Array:
  """Average images [B,H,W,C] of any size over side x side bins.

  Bin i of n pixels covers [floor(i n / side), ceil((i + 1) n / side)), so bins
  overlap if side does not divide n.

  Source: PyTorch's adaptive_avg_pool2d.
  """
  if x.shape[1:3] == (side, side):
    return x
  rows, columns = (_bins(size, side, x.dtype) for size in x.shape[1:3])
  return jnp.einsum("bhwc,ih,jw->bijc", x, rows, columns)


def _bins(size: int, side: int, dtype) -> jax.Array:
  """Return the [side,size] matrix that averages `size` pixels over bins."""
  index = np.arange(side)[:, None]
  pixel = np.arange(size)[None, :]
  first, last = index * size // side, -((index + 1) * size // -side)
  inside = (pixel >= first) & (pixel < last)
  return jnp.asarray(inside / inside.sum(1, keepdims=True), dtype)
