"""Sums over the triplets of a batch without an array of B^3 numbers.

For an anchor q, every ordered pair (i,j) of other items with gain_qi > gain_qj
is a triplet: i should come before j. The sums here take the anchors in chunks
and work out value and gradient in the same pass, so that nothing of size B^3 is
kept for the backward pass and no element is computed twice.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from dsh_jax.losses import similarity

# Elements of [chunk,B,B] held at once: 4 MB in float32, which stays in cache.
_CHUNK_ELEMENTS = 2**20

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


def mean_triplet_cost(
  badness: jax.Array, similar: jax.Array, cost: Cost
) -> jax.Array:
  """Averages the cost of (anchor, positive, negative) triplets.

  Args:
    badness: [B,B] float; a positive should have a smaller one than a negative.
    similar: [B,B] of 0 and 1; an item is never its own positive.
    cost: Cost of badness of the positive minus badness of the negative.

  Returns:
    Mean over an anchor's triplets, then over the anchors that have any; 0 when
    none has.
  """
  others = similarity.off_diagonal(similar.shape[0])
  sums = ranking_cost(badness, similar, others, cost)
  num_positives = jnp.sum(jnp.where(others, similar, 0), axis=1)
  num_negatives = jnp.sum(jnp.where(others, 1 - similar, 0), axis=1)
  num_triplets = num_positives * num_negatives
  means = sums / jnp.maximum(num_triplets, 1)
  return jnp.sum(means) / jnp.maximum(jnp.sum(num_triplets > 0), 1)
