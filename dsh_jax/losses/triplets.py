"""Sums over the triplets of a batch without an array of B^3 numbers.

For an anchor q, every ordered pair (i,j) of other items of which i should come
before j is a triplet. The active pairs of a hinge follow from sorting, so its
sum takes B^2 log B operations. Other costs have to look at every pair, a tile
of them at a time. Both work out value and gradient in the same pass and keep
B^2 numbers for the backward pass.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from dsh_jax.losses import similarity

# Items that should come first in a tile of pairs; a tile of 64 x 1024 float32
# stays in the cache of a core.
_TILE = 64

# x -> (cost, derivative of the cost).
Cost = Callable[[jax.Array], tuple[jax.Array, jax.Array]]


def logistic(x: jax.Array) -> tuple[jax.Array, jax.Array]:
  """Returns softplus(x) and its derivative, from one exponential: a `Cost`."""
  small = jnp.exp(-jnp.abs(x))
  cost = jnp.maximum(x, 0) + jnp.log1p(small)
  return cost, jnp.where(x > 0, 1, small) / (1 + small)


def sum_hinges(
  badness: jax.Array,
  level: jax.Array,
  valid: jax.Array,
  margin: float,
  gain: Callable[[jax.Array], jax.Array],
) -> jax.Array:
  """Sums weighted hinges, per anchor, over pairs that should be in order.

      sum over i, j with level_qi > level_qj of
        (gain(level_qi) - gain(level_qj))
        * max(0, margin + badness_qi - badness_qj)

  The weight is a sum over the levels t between j and i. At each t, the items
  from t on are paired with those below it, and a running sum over the sorted
  list counts the pairs whose hinge is active; the largest level that occurs
  decides how often this is done.

  Args:
    badness: float [Q,B]; the smaller, the earlier an item is ranked.
    level: [Q,B] of 0, 1, 2, ..., any type: the higher, the earlier an item
      should be. Constants: they cannot be differentiated.
    valid: bool [Q,B]; False takes an item (the anchor itself) off the list.
    margin: Margin of the hinge, in units of badness.
    gain: Level -> gain, increasing; of a shape that broadcasts to [Q,B], such
      as [Q,1] where the gains of anchors differ.

  Returns:
    [Q] of the type of `badness`.
  """
  search = jax.vmap(jnp.searchsorted, in_axes=(0, 0))

  def running(members):
    return jnp.pad(jnp.cumsum(members, axis=1), ((0, 0), (1, 0)))

  def values_and_slopes(x):
    # Centred, because the value is a difference of sums of x.
    x = x - jnp.mean(x, axis=1, keepdims=True)
    order = jnp.argsort(x, axis=1)
    ranked = jnp.take_along_axis(x, order, axis=1)
    upper, lower = (
      search(ranked, ranked + margin),
      search(ranked, ranked - margin),
    )
    levels = jnp.where(valid, level, -1).astype(jnp.int32)
    levels = jnp.take_along_axis(levels, order, axis=1)

    def add_level(t, sums):
      slope, pairs = sums
      step = (gain(t) - gain(t - 1)).astype(x.dtype)
      high = (levels >= t).astype(x.dtype)
      low = ((levels < t) & (levels >= 0)).astype(x.dtype)
      lows_below = jnp.take_along_axis(running(low), upper, axis=1)
      highs = running(high)
      highs_above = highs[:, -1:] - jnp.take_along_axis(highs, lower, axis=1)
      active = step * high * lows_below
      slope = slope + active - step * low * highs_above
      return slope, pairs + jnp.sum(active, axis=1)

    start = jnp.zeros_like(x), jnp.zeros_like(x[:, 0])
    slope, pairs = jax.lax.fori_loop(1, jnp.max(levels) + 1, add_level, start)
    values = jnp.sum(slope * ranked, axis=1) + margin * pairs
    back = jnp.argsort(order, axis=1)
    return values, jnp.take_along_axis(slope, back, axis=1)

  return _with_slopes(values_and_slopes, badness)


def sum_pair_costs(
  badness: jax.Array, first: jax.Array, second: jax.Array, cost: Cost
) -> jax.Array:
  """Sums, per anchor, a cost over all pairs of two groups of items.

      sum over i in first, j in second of cost(badness_qi - badness_qj)

  Takes |first| x B evaluations of the cost for an anchor.

  Args:
    badness: float [Q,B].
    first: bool [Q,B], items that should have the smaller badness.
    second: bool [Q,B], items that should have the larger badness.
    cost: Cost of a difference of badness, with its derivative.

  Returns:
    [Q] of the type of `badness`.
  """
  num_items = badness.shape[1]
  tile = min(_TILE, num_items)
  padding = -num_items % tile

  def anchor(row):
    x, is_first, is_second = row
    is_second = is_second.astype(x.dtype)
    order = jnp.argsort(~is_first)
    count = jnp.sum(is_first, dtype=jnp.int32)
    leading = jnp.pad(x[order], (0, padding))

    def add_tile(index, sums):
      value, leading_slope, slope = sums
      begin = index * tile
      chosen = jax.lax.dynamic_slice(leading, (begin,), (tile,))
      member = (begin + jnp.arange(tile) < count).astype(x.dtype)
      weight = member[:, None] * is_second[None, :]
      costs, slopes = cost(chosen[:, None] - x[None, :])
      slopes = weight * slopes
      leading_slope = jax.lax.dynamic_update_slice(
        leading_slope, jnp.sum(slopes, axis=1), (begin,)
      )
      value = value + jnp.sum(weight * costs)
      return value, leading_slope, slope - jnp.sum(slopes, axis=0)

    start = jnp.zeros((), x.dtype), jnp.zeros_like(leading), jnp.zeros_like(x)
    num_tiles = (count + tile - 1) // tile
    value, leading_slope, slope = jax.lax.fori_loop(
      0, num_tiles, add_tile, start
    )
    return value, slope.at[order].add(leading_slope[:num_items])

  def values_and_slopes(x):
    return jax.lax.map(anchor, (x, first, second))

  return _with_slopes(values_and_slopes, badness)


def mean_triplet_cost(sums: jax.Array, similar: jax.Array) -> jax.Array:
  """Averages sums over (anchor, positive, negative) triplets.

  Args:
    sums: [B], over an anchor's triplets.
    similar: [B,B] of 0 and 1; an item is never its own positive.

  Returns:
    A scalar: the mean over an anchor's triplets, then over the anchors that
    have any; 0 when none has.
  """
  positive, negative = split_items(similar)
  num_triplets = jnp.sum(positive, axis=1) * jnp.sum(negative, axis=1)
  means = sums / jnp.maximum(num_triplets, 1)
  return jnp.sum(means) / jnp.maximum(jnp.sum(num_triplets > 0), 1)


def split_items(similar: jax.Array) -> tuple[jax.Array, jax.Array]:
  """Returns an anchor's positives (never itself) and negatives, bool [B,B].

  Args:
    similar: [B,B] of 0 and 1.
  """
  others = similarity.off_diagonal(similar.shape[0])
  return others & (similar > 0), others & (similar == 0)


def _with_slopes(values_and_slopes, x):
  """Returns values [Q] of x [Q,B] whose gradient is slopes [Q,B]."""

  @jax.custom_vjp
  def values(x):
    return values_and_slopes(x)[0]

  def backward(slopes, cotangent):
    return (cotangent[:, None] * slopes,)

  values.defvjp(values_and_slopes, backward)
  return values(x)
