"""Ranked lists of a batch: ideal DCG and histograms of relaxed distances.

The list of an item is all other items of the batch. Histograms are
differentiable: an item at distance d counts in the two bins nearest to d, in
proportion (triangular bins).
"""

import jax
import jax.numpy as jnp
import numpy as np

# Elements of [bins,B,B] computed at once: 1 MB in float32 stays in cache.
_CHUNK_ELEMENTS = 2**18
# Overlaps in an ideal DCG, counted from the largest of a list.
_LEVELS = 64


def relative_gain(shared: jax.Array, largest: jax.Array) -> jax.Array:
  """Return (2^s - 1) / 2^largest, at most 1, so that no gain overflows.

  Args:
    shared: float, overlaps s; one above `largest` counts as `largest`.
    largest: float, broadcasts to `shared`: the largest overlap of a list.
  """
  return 2 ** jnp.minimum(shared - largest, 0) - 2**-largest


def largest_overlap(shared: jax.Array, mask: jax.Array) -> jax.Array:
  """Return the largest overlap [B] of each list.

  Args:
    shared: float [B,B], overlaps.
    mask: bool [B,B], items on the list.
  """
  return jnp.max(jnp.where(mask, shared, 0), axis=1)


def ideal_dcg(
  shared: jax.Array, mask: jax.Array, num_classes: int
) -> jax.Array:
  """Return the DCG [B] of each list in its best order, with relative gains.

  Gains are (2^s - 1) / 2^largest with the list's largest overlap, discounts
  1/log2(1 + rank). It is computed from the number of items at each overlap,
  without sorting. Overlaps 64 or more below the largest are left out: their
  gains are below float64 rounding. It is 0 where no item shares a label.

  Args:
    shared: float [B,B], overlaps.
    mask: bool [B,B], items on the list.
    num_classes: L, the largest possible overlap.
  """
  num_items = shared.shape[1]
  discounts = 1 / np.log2(np.arange(num_items) + 2)
  cumulative = jnp.asarray(
    np.concatenate([[0.0], np.cumsum(discounts)]), shared.dtype
  )
  largest = largest_overlap(shared, mask)[:, None]
  below = jnp.arange(min(num_classes, _LEVELS), dtype=shared.dtype)
  levels = largest - below[None, :]
  at_level = (shared[:, None, :] == levels[:, :, None]) & mask[:, None, :]
  counts = jnp.sum(at_level, axis=2, dtype=jnp.int32)
  last = jnp.cumsum(counts, axis=1)
  discount = cumulative[last] - cumulative[last - counts]
  gains = relative_gain(jnp.maximum(levels, 0), largest)
  return jnp.sum(gains * discount, axis=1)


def num_bins(bins_per_bit: float, num_bits: int) -> int:
  """Return the number of bins between distances 0 and K, at least 1.

  A histogram has one more, as bins are centred on both ends.
  """
  return max(1, round(bins_per_bit * num_bits))


def soft_histogram(
  distance: jax.Array, weights: jax.Array, last_bin: int
) -> jax.Array:
  """Sum weights over triangular bins of relaxed distance.

  Bin k gets max(0, 1 - |d - k|) of the weight of an item at distance d, so the
  weight is split over two neighbouring bins. The backward pass needs only those
  two, and no array of B x B x K.

  Source: Ustinova and Lempitsky, "Learning Deep Embeddings with Histogram
  Loss", NIPS 2016.

  Args:
    distance: float [B,B] in [0, last_bin]; clipped.
    weights: float [B,B]; not differentiated.
    last_bin: Index of the last bin, at least 1.

  Returns:
    [B,last_bin+1] of the type of `distance`.
  """

  @jax.custom_vjp
  def histogram(d):
    def count(bin_distance):
      share = jnp.maximum(1 - jnp.abs(d - bin_distance), 0)
      return jnp.sum(weights * share, axis=1)

    bins = jnp.arange(last_bin + 1, dtype=d.dtype)
    chunk = max(1, min(last_bin + 1, _CHUNK_ELEMENTS // d.size))
    return jax.lax.map(count, bins, batch_size=chunk).T

  def forward(d):
    return histogram(d), d

  def backward(d, cotangent):
    below = jnp.clip(jnp.floor(d), 0, last_bin - 1).astype(jnp.int32)
    low = jnp.take_along_axis(cotangent, below, axis=1)
    high = jnp.take_along_axis(cotangent, below + 1, axis=1)
    return (weights * (high - low),)

  histogram.defvjp(forward, backward)
  return histogram(jnp.clip(distance, 0, last_bin))
