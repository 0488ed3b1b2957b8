"""Sums over the triplets of a batch without an array of B^3 numbers.

For an anchor q, every ordered pair (i,j) of other items with gain_qi > gain_qj
is a triplet: i should come before j. The sums here take the anchors in chunks
and work out value and gradient in the same pass, so that nothing of size B^3 is
kept for the backward pass and no element is computed twice. The active pairs of
a hinge follow from sorting, so there a large batch takes B^2 log B operations.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from dsh_jax.losses import similarity

# Elements of [chunk,B,B] held at once: 4 MB in float32, which stays in cache.
_CHUNK_ELEMENTS = 2**20

# From this batch size on, sorting is faster than the B^3 loop (measured on CPU:
# a third of the time at 1024, twice the time at 128).
_MIN_SORTED = 512

# x -> (cost, derivative of the cost).
Cost = Callable[[jax.Array], tuple[jax.Array, jax.Array]]


def hinge(x: jax.Array) -> tuple[jax.Array, jax.Array]:
  """Returns max(0, x) and its derivative (0 at 0)."""
  return jnp.maximum(x, 0), (x > 0).astype(x.dtype)


def logistic(x: jax.Array) -> tuple[jax.Array, jax.Array]:
  """Returns softplus(x) and its derivative, from one exponential."""
  small = jnp.exp(-jnp.abs(x))
  cost = jnp.maximum(x, 0) + jnp.log1p(small)
  return cost, jnp.where(x > 0, 1, small) / (1 + small)


def ranking_cost(
  badness: jax.Array, gain: jax.Array, valid: jax.Array, cost: Cost
) -> jax.Array:
  """Sums, per anchor, the cost of every pair that should be in order.

      sum over i, j with gain_qi > gain_qj of
        (gain_qi - gain_qj) cost(badness_qi - badness_qj)

  Args:
    badness: [Q,B] float; the smaller, the earlier an item is ranked.
    gain: [Q,B] float; no gradient flows to it.
    valid: [Q,B] bool; False takes an item (the anchor itself) off the list.
    cost: Cost of a difference of badness, with its derivative.

  Returns:
    [Q] sums.
  """
  num_items = badness.shape[1]
  chunk = max(1, min(badness.shape[0], _CHUNK_ELEMENTS // num_items**2))

  def anchor_slopes(row):
    x, g, v = row
    weight = jnp.maximum(g[:, None] - g[None, :], 0)
    weight = jnp.where(v[:, None] & v[None, :], weight, 0)
    value, slope = cost(x[:, None] - x[None, :])
    slope = weight * slope
    total = jnp.sum(weight * value)
    return total, jnp.sum(slope, axis=1) - jnp.sum(slope, axis=0)

  def map_anchors(function, x):
    return jax.lax.map(function, (x, gain, valid), batch_size=chunk)

  @jax.custom_vjp
  def sums(x):
    return map_anchors(lambda row: anchor_slopes(row)[0], x)

  def forward(x):
    return map_anchors(anchor_slopes, x)

  def backward(slopes, cotangent):
    return (cotangent[:, None] * slopes,)

  sums.defvjp(forward, backward)
  return sums(badness)


def hinge_ranking_cost(
  badness: jax.Array,
  level: jax.Array,
  valid: jax.Array,
  margin: float,
  gain: Callable[[jax.Array], jax.Array],
) -> jax.Array:
  """Sums, per anchor, max(0, margin + difference) of pairs in wrong order.

  Equals `ranking_cost` of `gain(level)`, up to rounding.

  Args:
    badness: [Q,B] float; the smaller, the earlier an item is ranked.
    level: [Q,B] of 0, 1, 2, ...: the higher, the earlier an item should be.
    valid: [Q,B] bool; False takes an item (the anchor itself) off the list.
    margin: Margin of the hinge.
    gain: Level -> gain, increasing.

  Returns:
    [Q] sums.
  """
  if badness.shape[1] >= _MIN_SORTED:
    return _sorted_hinge(badness, level, valid, margin, gain)
  return ranking_cost(badness, gain(level), valid, lambda x: hinge(margin + x))


def _sorted_hinge(badness, level, valid, margin, gain):
  """Computes `hinge_ranking_cost` from sorted lists.

  The weight gain_i - gain_j is a sum over the levels t between j and i. At each
  t, the items from t on are paired with those below it, and a running sum over
  the sorted list counts the pairs whose hinge is active. The number of levels
  that occur decides how often this is done.
  """
  num_anchors = badness.shape[0]

  def place(x):
    """Sorts, and finds for every item where its active partners end."""
    order = jnp.argsort(x, axis=1)
    x = jnp.take_along_axis(x, order, axis=1)
    search = jax.vmap(jnp.searchsorted, in_axes=(0, 0))
    return order, x, search(x, x + margin), search(x, x - margin)

  def running(members):
    start = jnp.zeros((num_anchors, 1), members.dtype)
    return jnp.concatenate([start, jnp.cumsum(members, axis=1)], axis=1)

  def values_and_slopes(x):
    # Centred, because the value is a difference of sums of x.
    x = x - jnp.mean(x, axis=1, keepdims=True)
    order, ranked, upper, lower = place(x)
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

  @jax.custom_vjp
  def sums(x):
    return values_and_slopes(x)[0]

  def backward(slopes, cotangent):
    return (cotangent[:, None] * slopes,)

  sums.defvjp(values_and_slopes, backward)
  return sums(badness)


def mean_triplet_cost(
  similar: jax.Array, sum_costs: Callable[[jax.Array, jax.Array], jax.Array]
) -> jax.Array:
  """Averages the cost of (anchor, positive, negative) triplets.

  Args:
    similar: [B,B] of 0 and 1; an item is never its own positive.
    sum_costs: (similar, valid bool [B,B]) -> [B], sums over an anchor's
      triplets.

  Returns:
    Mean over an anchor's triplets, then over the anchors that have any; 0 when
    none has.
  """
  others = similarity.off_diagonal(similar.shape[0])
  sums = sum_costs(similar, others)
  num_positives = jnp.sum(jnp.where(others, similar, 0), axis=1)
  num_negatives = jnp.sum(jnp.where(others, 1 - similar, 0), axis=1)
  num_triplets = num_positives * num_negatives
  means = sums / jnp.maximum(num_triplets, 1)
  return jnp.sum(means) / jnp.maximum(jnp.sum(num_triplets > 0), 1)
