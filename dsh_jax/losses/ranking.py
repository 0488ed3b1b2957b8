"""Lists of a batch: ideal DCG, and histograms of relaxed distances.

The list of an item is every other item of the batch. A relaxed distance d
between two integers counts partly in the bin below and partly in the bin above
(triangular bins), which makes counts differentiable.
"""

import jax
import jax.numpy as jnp
import numpy as np

# Elements of [bins,B,B] worked on at once: 1 MB in float32 stays in cache.
_CHUNK_ELEMENTS = 2**18
# Overlaps that an ideal DCG looks at, from the largest of a list on.
_LEVELS = 64


def relative_gain(shared: jax.Array, largest: jax.Array) -> jax.Array:
  """Returns (2^s - 1) / 2^largest, at most 1: no gain is too large for a float.

  Args:
    shared: float, overlaps s; those above `largest` must have no weight, and
      count as `largest`.
    largest: float, of a shape that broadcasts, the largest overlap of a list.
  """
  return 2 ** jnp.minimum(shared - largest, 0) - 2**-largest


def largest_overlap(shared: jax.Array, valid: jax.Array) -> jax.Array:
  """Returns the largest overlap on each list, [B] of the type of `shared`.

  Args:
    shared: float [B,B], overlaps.
    valid: bool [B,B], items that are on the list.
  """
  return jnp.max(jnp.where(valid, shared, 0), axis=1)


def ideal_dcg(
  shared: jax.Array, valid: jax.Array, num_classes: int
) -> jax.Array:
  """Computes the DCG of each list in its best order, with relative gains.

  Gains (2^s - 1) / 2^largest, where largest is the list's largest overlap;
  discounts 1/log2(1 + rank). Works from the number of items at each overlap, so
  nothing is sorted. Overlaps 64 and more below the largest are left out: their
  gains are below the rounding of a float64.

  Args:
    shared: float [B,B], overlaps.
    valid: bool [B,B], items that are on the list.
    num_classes: L, the largest overlap that can occur.

  Returns:
    [B] of the type of `shared`, 0 where no item of the list shares a label.
  """
  num_items = shared.shape[1]
  discounts = 1 / np.log2(np.arange(num_items) + 2)
  cumulative = jnp.asarray(
    np.concatenate([[0.0], np.cumsum(discounts)]), shared.dtype
  )
  largest = largest_overlap(shared, valid)[:, None]
  below = jnp.arange(min(num_classes, _LEVELS), dtype=shared.dtype)
  levels = largest - below[None, :]
  at_level = (shared[:, None, :] == levels[:, :, None]) & valid[:, None, :]
  counts = jnp.sum(at_level, axis=2, dtype=jnp.int32)
  until = jnp.cumsum(counts, axis=1)
  shares = cumulative[until] - cumulative[until - counts]
  gains = relative_gain(jnp.maximum(levels, 0), largest)
  return jnp.sum(gains * shares, axis=1)


def num_bins(bins_per_bit: float, num_bits: int) -> int:
  """Returns the bins between distance 0 and K, at least 1.

  A histogram has one more, as bins are centred on both ends.

  Args:
    bins_per_bit: Bins divided by K, > 0.
    num_bits: K.
  """
  return max(1, round(bins_per_bit * num_bits))


def soft_histogram(
  distance: jax.Array, weights: jax.Array, num_bits: int
) -> jax.Array:
  """Adds up weights over bins of relaxed distance.

  The bin of integer k takes max(0, 1 - |d - k|) of an item at distance d, so a
  distance in this range adds its weight exactly once, over two neighbouring
  bins. The backward pass needs only those two, and no array of B x B x K.

  Source: Ustinova and Lempitsky, "Learning Deep Embeddings with Histogram
  Loss", NIPS 2016.

  Args:
    distance: float [B,B] in [0, num_bits]; rounding beyond that is cut off.
    weights: float [B,B], constants: they cannot be differentiated.
    num_bits: Number of the last bin, at least 1: K, or `num_bins` where
      distances are scaled to those.

  Returns:
    [B,num_bits+1] of the type of `distance`.
  """

  @jax.custom_vjp
  def histogram(d):
    def count(bin_distance):
      share = jnp.maximum(1 - jnp.abs(d - bin_distance), 0)
      return jnp.sum(weights * share, axis=1)

    bins = jnp.arange(num_bits + 1, dtype=d.dtype)
    chunk = max(1, min(num_bits + 1, _CHUNK_ELEMENTS // d.size))
    return jax.lax.map(count, bins, batch_size=chunk).T

  def forward(d):
    return histogram(d), d

  def backward(d, cotangent):
    below = jnp.clip(jnp.floor(d), 0, num_bits - 1).astype(jnp.int32)
    low = jnp.take_along_axis(cotangent, below, axis=1)
    high = jnp.take_along_axis(cotangent, below + 1, axis=1)
    return (weights * (high - low),)

  histogram.defvjp(forward, backward)
  return histogram(jnp.clip(distance, 0, num_bits))
