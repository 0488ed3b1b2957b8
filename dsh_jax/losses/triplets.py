"""Sums over the triplets of a batch without an array of B^3 numbers.

For an anchor q, every ordered pair (i,j) of other items of which i should come
before j is a triplet. Value and gradient are worked out in the same pass, and
B^2 numbers are kept for the backward pass.

Accelerators look at all B^3 triplets, for all anchors at once, in loops whose
length is known when they are compiled. On a CPU, the active pairs of a hinge
follow from sorting where lists are long, and other costs are worked out for an
anchor's own pairs alone.
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
_PER_PASS = 64
# Lists from this length on are sorted on a CPU. Measured with 256 and 512 items
# and overlaps up to 5: 22 ms sorted and 7 ms at once; 95 and 128 ms.
_SORTED_FROM = 512
# Farther than any badness: an item that is off the list costs nothing.
_FAR = 1e9


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
    is_long = x.shape[1] >= _SORTED_FROM
    on_cpu = hinges_by_sorting if is_long else hinges_at_once
    return jax.lax.platform_dependent(
      x,
      jnp.where(valid, level, -1).astype(jnp.int32),
      cpu=functools.partial(on_cpu, margin=margin, gain=gain),
      default=functools.partial(hinges_at_once, margin=margin, gain=gain),
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


def hinges_at_once(
  x: jax.Array,
  levels: jax.Array,
  margin: float,
  gain: Callable[[jax.Array], jax.Array],
) -> tuple[jax.Array, jax.Array]:
  """Sums hinges over all pairs of items, of all anchors at once.

  With D = gain_i - gain_j, a pair costs max(0, margin |D| + D (x_i - x_j)),
  whichever of the two should come first. Distances are counted in margins.

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
  lowest = jnp.min(gains) - 1
  gains = jnp.where(on_list, gains, lowest).T
  unit = margin if margin > 0 else 1.0
  places = jnp.where(on_list, x, _FAR).T / unit

  def add(sums, items):
    slopes, costs = sums
    for place, item_gain in zip(*items, strict=True):
      rise = item_gain - gains
      cost = margin / unit * jnp.abs(rise) + rise * (place - places)
      slopes = slopes - jnp.where(cost > 0, rise, 0)
      costs = costs + jnp.maximum(cost, 0)
    return slopes, costs

  slopes, costs = _scan_items(add, (places, gains), (_FAR, lowest))
  return unit / 2 * jnp.sum(costs, axis=0), slopes.T  # All met twice.


def sum_pair_costs(
  badness: jax.Array, first: jax.Array, second: jax.Array, margin: float
) -> jax.Array:
  """Sums, per anchor, a logistic cost over all pairs of two groups of items.

      sum over i in first, j in second of
        softplus(margin + badness_qi - badness_qj)

  Args:
    badness: float [Q,B].
    first: bool [Q,B], items that should have the smaller badness.
    second: bool [Q,B], items that should have the larger badness.
    margin: In units of badness.

  Returns:
    [Q] of the type of `badness`.
  """

  def values_and_slopes(x):
    return jax.lax.platform_dependent(
      x,
      first,
      second,
      cpu=functools.partial(pair_costs_by_anchor, margin=margin),
      default=functools.partial(pair_costs_at_once, margin=margin),
    )

  return _with_slopes(values_and_slopes, badness)


def pair_costs_by_anchor(
  badness: jax.Array, first: jax.Array, second: jax.Array, margin: float
) -> tuple[jax.Array, jax.Array]:
  """Sums costs anchor by anchor, |first| x B for each, in tiles.

  Args:
    badness: As in `sum_pair_costs`.
    first: As in `sum_pair_costs`.
    second: As in `sum_pair_costs`.
    margin: As in `sum_pair_costs`.

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
      costs, slopes = _logistic(margin + (chosen[:, None] - x[None, :]))
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


def _logistic(x: jax.Array) -> tuple[jax.Array, jax.Array]:
  """Returns softplus(x) and its derivative, from one exponential."""
  small = jnp.exp(-jnp.abs(x))
  cost = jnp.maximum(x, 0) + jnp.log1p(small)
  return cost, jnp.where(x > 0, 1, small) / (1 + small)


def pair_costs_at_once(
  badness: jax.Array, first: jax.Array, second: jax.Array, margin: float
) -> tuple[jax.Array, jax.Array]:
  """Sums costs over all pairs of items, of all anchors at once.

  With t = tanh(z/2), the derivative of softplus(z) is (1 + t)/2, and its value
  max(z, 0) - log((1 + |t|)/2), of which the logarithm is taken of products.

  Args:
    badness: As in `sum_pair_costs`.
    first: As in `sum_pair_costs`.
    second: As in `sum_pair_costs`.
    margin: As in `sum_pair_costs`.

  Returns:
    As `pair_costs_by_anchor`.
  """
  # z/2 is a sum of two; a pair that does not count is far from any cost.
  leading = jnp.where(first, (badness + margin) / 2, -_FAR).T
  trailing = jnp.where(second, -badness / 2, -_FAR).T

  def add(sums, items):
    values, slopes = sums
    product = jnp.ones_like(values)
    for lead, trail in zip(*items, strict=True):
      half = lead + trailing
      tanh = jnp.tanh(half)
      values = values + jnp.maximum(half, 0)
      product = product * (1 + jnp.abs(tanh))  # At most 2^64.
      slopes = slopes + (jnp.tanh(leading + trail) - tanh)
    share = product * 0.5 ** len(items[0])
    return values - jnp.log(share) / 2, slopes

  values, slopes = _scan_items(add, (leading, trailing), (-_FAR, -_FAR))
  return 2 * jnp.sum(values, axis=0), slopes.T / 2


def _scan_items(
  add: Callable[..., tuple[jax.Array, jax.Array]],
  rows: Sequence[jax.Array],
  fillers: Sequence[float],
) -> tuple[jax.Array, jax.Array]:
  """Goes through the items of all lists, some at a time.

  Items lie on the first axis: a TPU repeats a row more easily than a column.

  Args:
    add: (two sums [B,Q]; for each of `rows`, [1,Q] of some items) -> the sums.
    rows: What is known of an item, [B,Q] each.
    fillers: The same of an item that adds nothing.

  Returns:
    Two sums [B,Q].
  """
  num_items = len(rows[0])
  per_pass = min(_PER_PASS, num_items)
  padded = [
    jnp.pad(
      row,
      ((0, -num_items % per_pass), (0, 0)),
      constant_values=jnp.asarray(filler, row.dtype),
    )
    for row, filler in zip(rows, fillers, strict=True)
  ]

  def add_some(index, sums):
    chosen = [
      jax.lax.dynamic_slice_in_dim(row, index * per_pass, per_pass)
      for row in padded
    ]
    return add(sums, [jnp.split(row, per_pass) for row in chosen])

  start = jnp.zeros_like(rows[0]), jnp.zeros_like(rows[0])
  num_passes = -(-num_items // per_pass)
  return jax.lax.fori_loop(0, num_passes, add_some, start)


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
