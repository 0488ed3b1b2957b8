"""Sums over the triplets of a batch without an array of B^3 numbers.

For an anchor q, every ordered pair (i,j) of other items of which i should come
before j is a triplet. Value and gradient are worked out in the same pass, and
B^2 numbers are kept for the backward pass.

Accelerators look at all B^3 triplets, for all anchors at once, in loops whose
length is known when they are compiled. On a CPU, where sorting is cheap, the
active pairs of a hinge follow from sorting, and other costs are worked out for
an anchor's own pairs alone.
"""

import functools
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp

from dsh_jax.losses import similarity

# Items that should come first in a tile of pairs; a tile of 64 x 1024 float32
# stays in the cache of a core.
_TILE = 64
# Items that an accelerator compares with all others in one pass over [Q,B].
_PER_PASS = 16
# Farther than any badness: an item that is off the list costs nothing.
_FAR = 1e9

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

  def values_and_slopes(x):
    # Centred, because the value is a difference of sums of x.
    x = x - jnp.mean(x, axis=1, keepdims=True)
    return jax.lax.platform_dependent(
      x,
      jnp.where(valid, level, -1).astype(jnp.int32),
      cpu=functools.partial(hinges_by_sorting, margin=margin, gain=gain),
      default=functools.partial(hinges_by_pairs, margin=margin, gain=gain),
    )

  return _with_slopes(values_and_slopes, badness)


def hinges_by_sorting(
  x: jax.Array,
  levels: jax.Array,
  margin: float,
  gain: Callable[[jax.Array], jax.Array],
) -> tuple[jax.Array, jax.Array]:
  """Sums hinges by running sums over sorted lists.

  The weight is a sum over the levels t between j and i. At each t, the items
  from t on are paired with those below it, and a running sum over the sorted
  list counts the pairs whose hinge is active; the largest level that occurs
  decides how often this is done.

  Args:
    x: float [Q,B], badness with mean 0 over a list.
    levels: int32 [Q,B], -1 for an item that is off the list.
    margin: As in `sum_hinges`.
    gain: As in `sum_hinges`.

  Returns:
    Values [Q] and their gradient [Q,B].
  """
  search = jax.vmap(jnp.searchsorted, in_axes=(0, 0))

  def running(members):
    return jnp.pad(jnp.cumsum(members, axis=1), ((0, 0), (1, 0)))

  order = jnp.argsort(x, axis=1)
  ranked = jnp.take_along_axis(x, order, axis=1)
  upper, lower = (
    search(ranked, ranked + margin),
    search(ranked, ranked - margin),
  )
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


def hinges_by_pairs(
  x: jax.Array,
  levels: jax.Array,
  margin: float,
  gain: Callable[[jax.Array], jax.Array],
) -> tuple[jax.Array, jax.Array]:
  """Sums hinges over all pairs of a list.

  With D = gain_i - gain_j, a pair costs max(0, margin |D| + D (x_i - x_j)),
  whichever of the two should come first.

  Args:
    x: As in `hinges_by_sorting`.
    levels: As in `hinges_by_sorting`.
    margin: As in `sum_hinges`.
    gain: As in `sum_hinges`.

  Returns:
    As `hinges_by_sorting`.
  """
  # An item off the list has the lowest gain, and follows far behind all.
  on_list = levels >= 0
  gains = gain(levels.astype(x.dtype))
  gains = jnp.where(on_list, gains, gain(jnp.zeros((), x.dtype)) - 1)
  places = jnp.where(on_list, x, _FAR)

  def terms(items, others):
    (place, gained), (other_place, other_gain) = items, others
    rise = gained - other_gain
    size = jnp.abs(rise)
    is_active = margin * size + rise * (place - other_place) > 0
    return jnp.where(is_active, -rise, 0), jnp.where(is_active, size, 0)

  lowest = gain(jnp.zeros((), x.dtype)) - 1
  slopes, weights = _sum_over_items((places, gains), (_FAR, lowest), terms)
  # Every pair was met twice.
  values = jnp.sum(slopes * x + margin / 2 * weights, axis=1)
  return values, slopes


def sum_pair_costs(
  badness: jax.Array, first: jax.Array, second: jax.Array, cost: Cost
) -> jax.Array:
  """Sums, per anchor, a cost over all pairs of two groups of items.

      sum over i in first, j in second of cost(badness_qi - badness_qj)

  Args:
    badness: float [Q,B].
    first: bool [Q,B], items that should have the smaller badness.
    second: bool [Q,B], items that should have the larger badness, and none of
      `first`.
    cost: Cost of a difference of badness, with its derivative; it vanishes
      where the difference goes to minus infinity.

  Returns:
    [Q] of the type of `badness`.
  """

  def values_and_slopes(x):
    return jax.lax.platform_dependent(
      x,
      first,
      second,
      cpu=functools.partial(pair_costs_by_anchor, cost=cost),
      default=functools.partial(pair_costs_by_pairs, cost=cost),
    )

  return _with_slopes(values_and_slopes, badness)


def pair_costs_by_anchor(
  badness: jax.Array, first: jax.Array, second: jax.Array, cost: Cost
) -> tuple[jax.Array, jax.Array]:
  """Sums costs anchor by anchor, |first| x B for each, in tiles.

  Args:
    badness: As in `sum_pair_costs`.
    first: As in `sum_pair_costs`.
    second: As in `sum_pair_costs`.
    cost: As in `sum_pair_costs`.

  Returns:
    Values [Q] and their gradient [Q,B].
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

  return jax.lax.map(anchor, (badness, first, second))


def pair_costs_by_pairs(
  badness: jax.Array, first: jax.Array, second: jax.Array, cost: Cost
) -> tuple[jax.Array, jax.Array]:
  """Sums costs over all pairs of a list.

  Args:
    badness: As in `sum_pair_costs`.
    first: As in `sum_pair_costs`.
    second: As in `sum_pair_costs`.
    cost: As in `sum_pair_costs`.

  Returns:
    As `pair_costs_by_anchor`.
  """
  # An item of neither group follows far behind all as one of the second.
  places = jnp.where(first | second, badness, _FAR)
  groups = first.astype(badness.dtype)

  def terms(items, others):
    (place, group), (other_place, other_group) = items, others
    sign = group - other_group
    value, slope = cost(sign * (place - other_place))
    return -sign * slope, jnp.abs(sign) * value

  slopes, values = _sum_over_items((places, groups), (_FAR, 0), terms)
  return jnp.sum(values, axis=1) / 2, slopes  # Every pair was met twice.


def _sum_over_items(
  columns: Sequence[jax.Array],
  fillers: Sequence[float],
  terms: Callable[..., tuple[jax.Array, jax.Array]],
) -> tuple[jax.Array, jax.Array]:
  """Adds up two terms over all items i, for every item j.

  Args:
    columns: What is known of an item, [Q,B] each.
    fillers: The same of an item whose terms are 0.
    terms: (of i, [Q,1] each; of j, [Q,B] each) -> two terms [Q,B].

  Returns:
    Two sums [Q,B].
  """
  num_items = columns[0].shape[1]
  per_pass = min(_PER_PASS, num_items)
  padded = [
    jnp.pad(
      column,
      ((0, 0), (0, -num_items % per_pass)),
      constant_values=jnp.asarray(filler, column.dtype),
    )
    for column, filler in zip(columns, fillers, strict=True)
  ]

  def add_items(index, sums):
    chosen = [
      jax.lax.dynamic_slice_in_dim(column, index * per_pass, per_pass, 1)
      for column in padded
    ]
    for place in range(per_pass):
      items = [column[:, place : place + 1] for column in chosen]
      sums = tuple(
        total + term
        for total, term in zip(sums, terms(items, columns), strict=True)
      )
    return sums

  start = jnp.zeros_like(columns[0]), jnp.zeros_like(columns[0])
  num_passes = -(-num_items // per_pass)
  return jax.lax.fori_loop(0, num_passes, add_items, start)


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
