"""Weighted hinges over the triplets of a batch."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp

from dsh_jax.losses import triplets

# From this length on, a CPU sorts lists. Measured with 256 and 512 items and
# overlaps up to 5: 22 and 95 ms sorted, 7 and 128 ms over all pairs.
_SORT_FROM = 512
_FAR = 1e9  # Distance of a masked item, which costs nothing.

Gain = Callable[[jax.Array], jax.Array]


def sum_hinges(
  distance: jax.Array,
  relevance: jax.Array,
  mask: jax.Array,
  margin: float,
  gain: Gain,
) -> jax.Array:
  """Sum weighted hinges over the pairs of items of every anchor.

      sum over i, j with relevance_qi > relevance_qj of
        (gain(relevance_qi) - gain(relevance_qj))
        * max(0, margin + distance_qi - distance_qj)

  Args:
    distance: float [Q,B].
    relevance: [Q,B] of 0, 1, 2, ..., any type; not differentiated.
    mask: bool [Q,B]; False removes an item, such as the anchor itself.
    margin: Margin of the hinge.
    gain: Relevance -> gain, increasing; its result broadcasts to [Q,B], for
      example [Q,1] where anchors have different gains.

  Returns:
    [Q] of the type of `distance`.
  """

  def value_and_gradient(x):
    # Centred, because the value is a difference of sums of x.
    x = x - jnp.mean(x, axis=1, keepdims=True)
    on_cpu = sum_sorted if x.shape[1] >= _SORT_FROM else sum_all_pairs
    return jax.lax.platform_dependent(
      x,
      jnp.where(mask, relevance, -1).astype(jnp.int32),
      cpu=functools.partial(on_cpu, margin=margin, gain=gain),
      default=functools.partial(sum_all_pairs, margin=margin, gain=gain),
    )

  return triplets.with_gradient(value_and_gradient, distance)


def sum_sorted(
  x: jax.Array, relevance: jax.Array, margin: float, gain: Gain
) -> triplets.Sums:
  """Sum hinges with cumulative sums over sorted lists.

  A weight is a sum over the thresholds t between two relevances. At each t,
  items from t on are paired with those below it, and a cumulative sum over the
  sorted list counts the pairs with an active hinge. The loop runs to the
  largest relevance.

  Args:
    x: float [Q,B], distances with mean 0 per list.
    relevance: int32 [Q,B], -1 for a masked item.
    margin: As in `sum_hinges`.
    gain: As in `sum_hinges`.

  Returns:
    Values [Q] and their gradient [Q,B].
  """
  search = jax.vmap(jnp.searchsorted)

  def cumulative(x):
    return jnp.pad(jnp.cumsum(x, axis=1), ((0, 0), (1, 0)))

  order = jnp.argsort(x, axis=1)
  x = jnp.take_along_axis(x, order, axis=1)
  relevance = jnp.take_along_axis(relevance, order, axis=1)
  upper, lower = search(x, x + margin), search(x, x - margin)

  def add_threshold(t, sums):
    gradient, num_active = sums
    weight = (gain(t) - gain(t - 1)).astype(x.dtype)
    high = (relevance >= t).astype(x.dtype)
    low = ((relevance < t) & (relevance >= 0)).astype(x.dtype)
    num_low = jnp.take_along_axis(cumulative(low), upper, axis=1)
    num_high = cumulative(high)
    num_high = num_high[:, -1:] - jnp.take_along_axis(num_high, lower, axis=1)
    active = weight * high * num_low
    gradient = gradient + active - weight * low * num_high
    return gradient, num_active + jnp.sum(active, axis=1)

  zeros = jnp.zeros_like(x), jnp.zeros_like(x[:, 0])
  gradient, num_active = jax.lax.fori_loop(
    1, jnp.max(relevance) + 1, add_threshold, zeros
  )
  values = jnp.sum(gradient * x, axis=1) + margin * num_active
  inverse = jnp.argsort(order, axis=1)
  return values, jnp.take_along_axis(gradient, inverse, axis=1)


def sum_all_pairs(
  x: jax.Array, relevance: jax.Array, margin: float, gain: Gain
) -> triplets.Sums:
  """Sum hinges over all pairs of items, for all anchors at once.

  With D = gain_i - gain_j, a pair costs max(0, margin |D| + D (x_i - x_j)) in
  either order, so every pair is visited twice. Distances are in margins.

  Args:
    x: As in `sum_sorted`.
    relevance: As in `sum_sorted`.
    margin: As in `sum_hinges`.
    gain: As in `sum_hinges`.

  Returns:
    As `sum_sorted`.
  """
  # A masked item has the lowest gain and is far behind all others.
  mask = relevance >= 0
  gains = gain(relevance.astype(x.dtype))
  lowest = jnp.min(gains) - 1
  gains = jnp.where(mask, gains, lowest).T
  unit = margin if margin > 0 else 1.0
  distances = jnp.where(mask, x, _FAR).T / unit

  def add(sums, items):
    gradient, costs = sums
    for distance, item_gain in zip(*items, strict=True):
      difference = item_gain - gains
      cost = margin / unit * jnp.abs(difference)
      cost = cost + difference * (distance - distances)
      gradient = gradient - jnp.where(cost > 0, difference, 0)
      costs = costs + jnp.maximum(cost, 0)
    return gradient, costs

  gradient, costs = triplets.scan_items(add, (distances, gains), (_FAR, lowest))
  return unit / 2 * jnp.sum(costs, axis=0), gradient.T
