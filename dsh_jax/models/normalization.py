"""Batch normalisation with few passes over memory on accelerators."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

Pool = Callable[[jax.Array], jax.Array]


class BatchNorm(nn.Module):
  """Normalises channels, with the variables and numbers of `nn.BatchNorm`.

  With scale s, bias b, mean m and deviation d of a channel, Flax computes
  (x - m) s/d + b, and does so here on a CPU. Accelerators compute
  x (s/d) + (b - m s/d), the same to rounding: its gradient adds up two products
  in place of three. And where maxima follow, they are taken first, of x times
  the sign of s: the rest is then done to a quarter of the values.

  Attributes:
    use_running_average: Whether to use the running statistics instead of those
      of the batch.
    momentum: Of the running statistics.
    epsilon: Added to the variance.
    dtype: Type of the result; statistics are float32.
    axis_name: pmap axis over which statistics are taken, or None for those of
      the array.
  """

  use_running_average: bool
  momentum: float = 0.9
  epsilon: float = 1e-5
  dtype: Any = jnp.float32
  axis_name: str | None = None

  @nn.compact
  def __call__(self, x: jax.Array, max_pool: Pool | None = None) -> jax.Array:
    """Normalises the last axis of float [..., C].

    Args:
      x: What is normalised.
      max_pool: Takes maxima of the normalised values, channel by channel, and
        gives the result; None for the values themselves.
    """
    shape = x.shape[-1:]
    mean = self.variable("batch_stats", "mean", jnp.zeros, shape)
    var = self.variable("batch_stats", "var", jnp.ones, shape)
    scale = self.param("scale", nn.initializers.ones, shape)
    bias = self.param("bias", nn.initializers.zeros, shape)
    axis_name = None if self.is_initializing() else self.axis_name
    result, new_mean, new_var = jax.lax.platform_dependent(
      x,
      scale,
      bias,
      mean.value,
      var.value,
      cpu=lambda *values: self._as_flax(max_pool, axis_name, *values),
      default=lambda *values: self._folded(max_pool, axis_name, *values),
    )
    if not (self.use_running_average or self.is_initializing()):
      mean.value, var.value = new_mean, new_var
    return result

  def _as_flax(self, max_pool, axis_name, x, scale, bias, mean, var):
    norm = nn.BatchNorm(
      use_running_average=self.use_running_average,
      momentum=self.momentum,
      epsilon=self.epsilon,
      dtype=self.dtype,
      axis_name=axis_name,
      parent=None,
    )
    y, updates = norm.apply(
      {
        "params": {"scale": scale, "bias": bias},
        "batch_stats": {"mean": mean, "var": var},
      },
      x,
      mutable=["batch_stats"],
    )
    stats = updates["batch_stats"]
    return y if max_pool is None else max_pool(y), stats["mean"], stats["var"]

  def _folded(self, max_pool, axis_name, x, scale, bias, mean, var):
    sign = jnp.where(scale < 0, -1.0, 1.0)
    if max_pool is None:
      sign = jnp.ones_like(scale)
    else:
      x = x * _row(sign, x).astype(x.dtype)
    new_mean, new_var = mean, var
    if not self.use_running_average:
      mean, var = self._statistics(axis_name, x)
      mean = mean * sign
      new_mean = self.momentum * new_mean + (1 - self.momentum) * mean
      new_var = self.momentum * new_var + (1 - self.momentum) * var
    if max_pool is not None:
      x = max_pool(x)
    rise = jax.lax.rsqrt(var + self.epsilon) * scale
    y = x * _row(rise * sign, x) + _row(bias - mean * rise, x)
    return y.astype(self.dtype), new_mean, new_var

  def _statistics(self, axis_name, x):
    x = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    axes = tuple(range(x.ndim - 1))
    means = jnp.stack([x.mean(axes), jnp.square(x).mean(axes)])
    if axis_name is not None:
      means = jax.lax.pmean(means, axis_name)
    mean, mean_of_squares = means
    # Rounding must not make it negative.
    return mean, jnp.maximum(0.0, mean_of_squares - jnp.square(mean))


def _row(values, x):
  """Gives a value of each channel as many axes as `x` has."""
  return values.reshape((1,) * (x.ndim - 1) + values.shape)
