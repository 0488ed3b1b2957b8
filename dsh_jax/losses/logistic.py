"""Logistic costs over the triplets of a batch."""

import functools

import jax
import jax.numpy as jnp

from dsh_jax.losses import triplets

_TILE = 64  # Positives per tile: 64 x 1024 float32 stay in a core's cache.
_FAR = 1e9  # Makes the cost of a pair 0.


def sum_logistic(
  distance: jax.Array,
  positives: jax.Array,
  negatives: jax.Array,
  margin: float,
) -> jax.Array:
  """Sum softplus(margin + distance_qp - distance_qn) over p, n, per anchor q.

  Args:
    distance: float [Q,B].
    positives: bool [Q,B].
    negatives: bool [Q,B].
    margin: In units of distance.

  Returns:
    [Q] of the type of `distance`.
  """

  def value_and_gradient(x):
    return jax.lax.platform_dependent(
      x,
      positives,
      negatives,
      cpu=functools.partial(sum_by_anchor, margin=margin),
      default=functools.partial(sum_all_pairs, margin=margin),
    )

  return triplets.with_gradient(value_and_gradient, distance)


def sum_by_anchor(
  distance: jax.Array,
  positives: jax.Array,
  negatives: jax.Array,
  margin: float,
) -> triplets.Sums:
  """Return values [Q] and gradient [Q,B] of `sum_logistic`, anchor by anchor.

  The cost of an anchor is num_positives x B, in tiles.
  """
  num_items = distance.shape[1]
  tile = min(_TILE, num_items)
  padding = -num_items % tile

  def anchor(row):
    x, is_positive, is_negative = row
    is_negative = is_negative.astype(x.dtype)
    order = jnp.argsort(~is_positive)  # Positives first.
    num_positives = jnp.sum(is_positive, dtype=jnp.int32)
    sorted_x = jnp.pad(x[order], (0, padding))

    def add_tile(index, sums):
      value, positive_gradient, gradient = sums
      start = index * tile
      chunk = jax.lax.dynamic_slice(sorted_x, (start,), (tile,))
      in_tile = (start + jnp.arange(tile) < num_positives).astype(x.dtype)
      weight = in_tile[:, None] * is_negative[None, :]
      costs, slopes = _softplus(margin + (chunk[:, None] - x[None, :]))
      slopes = weight * slopes
      positive_gradient = jax.lax.dynamic_update_slice(
        positive_gradient, jnp.sum(slopes, axis=1), (start,)
      )
      value = value + jnp.sum(weight * costs)
      return value, positive_gradient, gradient - jnp.sum(slopes, axis=0)

    zeros = jnp.zeros((), x.dtype), jnp.zeros_like(sorted_x), jnp.zeros_like(x)
    num_tiles = (num_positives + tile - 1) // tile
    value, positive_gradient, gradient = jax.lax.fori_loop(
      0, num_tiles, add_tile, zeros
    )
    return value, gradient.at[order].add(positive_gradient[:num_items])

  return jax.lax.map(anchor, (distance, positives, negatives))


def _softplus(x: jax.Array) -> tuple[jax.Array, jax.Array]:
  """Return softplus(x) and its derivative, from one exponential."""
  small = jnp.exp(-jnp.abs(x))
  value = jnp.maximum(x, 0) + jnp.log1p(small)
  return value, jnp.where(x > 0, 1, small) / (1 + small)


def sum_all_pairs(
  distance: jax.Array,
  positives: jax.Array,
  negatives: jax.Array,
  margin: float,
) -> triplets.Sums:
  """Return the same as `sum_by_anchor`, for all pairs and anchors at once.

  With t = tanh(z/2), softplus(z) is max(z, 0) - log((1 + |t|)/2) and its
  derivative (1 + t)/2. One logarithm is taken of a product of several terms.
  """
  # z/2 = positive + negative; a pair that does not count has a huge -z.
  positive = jnp.where(positives, (distance + margin) / 2, -_FAR).T
  negative = jnp.where(negatives, -distance / 2, -_FAR).T

  def add(sums, items):
    values, gradient = sums
    product = jnp.ones_like(values)
    for item_positive, item_negative in zip(*items, strict=True):
      half = item_positive + negative
      tanh = jnp.tanh(half)
      values = values + jnp.maximum(half, 0)
      product = product * (1 + jnp.abs(tanh))  # At most 2^64.
      gradient = gradient + (jnp.tanh(positive + item_negative) - tanh)
    mean = product * 0.5 ** len(items[0])
    return values - jnp.log(mean) / 2, gradient

  values, gradient = triplets.scan_items(
    add, (positive, negative), (-_FAR, -_FAR)
  )
  return 2 * jnp.sum(values, axis=0), gradient.T / 2
