"""Batch normalisation with less memory traffic on accelerators."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

Pool = Callable[[jax.Array], jax.Array]


class BatchNorm(nn.Module):
  """`nn.BatchNorm`: the same variables, and results equal up to rounding.

  With scale s, bias b, mean m and standard deviation d of a channel, Flax
  computes (x - m) s/d + b, as this does on a CPU. Accelerators compute
  x (s/d) + (b - m s/d), whose gradient sums two products instead of three. A
  max-pooling that follows is applied first, to x times the sign of s, which
  leaves a quarter of the values to normalise.

  Attributes:
    use_running_average: Whether to use running statistics.
    momentum: Of the running statistics.
    epsilon: Added to the variance.
    dtype: Type of the result; statistics are float32.
    axis_name: pmap axis of the statistics, or None.
  """

  use_running_average: bool
  momentum: float = 0.9
  epsilon: float = 1e-5
  dtype: Any = jnp.float32
  axis_name: str | None = None

  @nn.compact
  def __call__(self, x: jax.Array, max_pool: Pool | None = None) -> jax.Array:
    """Normalise the channels of float [..., C], then apply `max_pool`."""
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
    slope = jax.lax.rsqrt(var + self.epsilon) * scale
    y = x * _row(slope * sign, x) + _row(bias - mean * slope, x)
    return y.astype(self.dtype), new_mean, new_var

  def _statistics(self, axis_name, x):
    x = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    axes = tuple(range(x.ndim - 1))
    means = jnp.stack([x.mean(axes), jnp.square(x).mean(axes)])
    if axis_name is not None:
      means = jax.lax.pmean(means, axis_name)
    mean, mean_of_squares = means
    # Rounding can make the variance negative.
    return mean, jnp.maximum(0.0, mean_of_squares - jnp.square(mean))


def _row(values, x):
  """Reshape [C] to the rank of `x`."""
  return values.reshape((1,) * (x.ndim - 1) + values.shape)
