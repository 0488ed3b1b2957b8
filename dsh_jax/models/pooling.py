"""Pooling: maxima with a gradient that is cheap on a CPU, and averages."""

import functools

import jax
import jax.numpy as jnp
import numpy as np


@functools.partial(jax.custom_vjp, nondiff_argnums=(1, 2, 3))
def max_pool(
  x: jax.Array, window: int, stride: int, padding: int = 0
) -> jax.Array:
  """Largest value of every window.

  The usual gradient, select-and-scatter, is slow on a CPU. Here every input
  looks up the windows that it is in and takes their gradient where it equals
  their maximum, which is all elementwise. Inputs that share the maximum of a
  window get equal parts of its gradient.

  Args:
    x: float [B,H,W,C].
    window: Height and width of a window.
    stride: Step between windows, in both directions.
    padding: Rows and columns of -infinity around the image, on every side.

  Returns:
    float [B,H',W',C] with H' = (H + 2 padding - window) // stride + 1.
  """
  return functools.reduce(jnp.maximum, _slices(x, window, stride, padding))


def _slices(x, window, stride, padding):
  """For each place in a window, its value in every window."""
  edge = (padding, padding, 0)
  x = jax.lax.pad(
    x,
    jnp.array(-jnp.inf, x.dtype),
    ((0, 0, 0), edge, edge, (0, 0, 0)),
  )
  height, width = ((size - window) // stride + 1 for size in x.shape[1:3])
  return [
    x[
      :,
      row : row + stride * (height - 1) + 1 : stride,
      column : column + stride * (width - 1) + 1 : stride,
    ]
    for row in range(window)
    for column in range(window)
  ]


def _max_pool_forward(x, window, stride, padding):
  largest = max_pool(x, window, stride, padding)
  return largest, (x, largest)


def _max_pool_backward(window, stride, padding, kept, gradient):
  x, largest = kept
  slices = _slices(x, window, stride, padding)
  ties = sum((part == largest).astype(x.dtype) for part in slices)
  gradient = gradient / ties
  result = jnp.zeros_like(x)
  # With stride 2 and window 3 a row is in one or two rows of windows: one
  # lookup for each, and the same along columns.
  for row in range(0, window, stride):
    for column in range(0, window, stride):
      maximum, part = largest, gradient
      for axis, shift in ((1, row), (2, column)):
        look_up = functools.partial(
          _look_up,
          axis=axis,
          size=x.shape[axis],
          shift=shift,
          window=window,
          stride=stride,
          padding=padding,
        )
        maximum = look_up(maximum, fill=jnp.inf)
        part = look_up(part, fill=0)
      result += jnp.where(x == maximum, part, 0)
  return (result,)


max_pool.defvjp(_max_pool_forward, _max_pool_backward)


def _look_up(values, axis, size, shift, window, stride, padding, fill):
  """Along an axis, the value of a window that each of `size` inputs is in.

  That window starts `shift` to `shift + stride - 1` places before the input;
  where the input is not in it, or there is none, the value is `fill`.
  """
  place = np.arange(size) + padding
  window_index = place // stride - shift // stride
  inside = (place % stride + shift < window) & (window_index >= 0)
  inside &= window_index < values.shape[axis]
  inside = np.expand_dims(inside, [i for i in range(values.ndim) if i != axis])
  window_index = window_index.clip(0, values.shape[axis] - 1)
  values = jnp.take(values, window_index, axis=axis, mode="clip")
  return jnp.where(inside, values, jnp.array(fill, values.dtype))


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
