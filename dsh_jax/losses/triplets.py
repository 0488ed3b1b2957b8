"""Triplets of a batch: an anchor and an ordered pair of other items.

`hinges` and `logistic` sum their costs without an array of B^3 numbers: value
and gradient are computed in the same pass, which keeps B^2 numbers for the
backward pass. Accelerators compute all triplets, for all anchors at once, in
loops whose length is known at compile time.
"""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp

from dsh_jax.losses import similarity

# Items that an accelerator compares with all others in one iteration.
_ITEMS_PER_STEP = 64

Sums = tuple[jax.Array, jax.Array]


def with_gradient(
  value_and_gradient: Callable[[jax.Array], Sums], x: jax.Array
) -> jax.Array:
  """Return the values [Q] of x [Q,B], with the given gradient [Q,B]."""

  @jax.custom_vjp
  def value(x):
    return value_and_gradient(x)[0]

  def backward(gradient, cotangent):
    return (cotangent[:, None] * gradient,)

  value.defvjp(value_and_gradient, backward)
  return value(x)


def scan_items(
  add: Callable[..., Sums],
  arrays: Sequence[jax.Array],
  fillers: Sequence[float],
) -> Sums:
  """Sum over the items of all lists, a few at a time.

  Items are on the first axis: a TPU broadcasts rows more easily than columns.

  Args:
    add: (two sums [B,Q]; for each array, a list of rows [1,Q]) -> the sums.
    arrays: [B,Q] each.
    fillers: For each array, the value of an item that adds nothing.

  Returns:
    Two sums [B,Q].
  """
  num_items = len(arrays[0])
  size = min(_ITEMS_PER_STEP, num_items)
  padded = [
    jnp.pad(
      array,
      ((0, -num_items % size), (0, 0)),
      constant_values=jnp.asarray(filler, array.dtype),
    )
    for array, filler in zip(arrays, fillers, strict=True)
  ]

  def step(index, sums):
    chunks = [
      jax.lax.dynamic_slice_in_dim(array, index * size, size)
      for array in padded
    ]
    return add(sums, [jnp.split(chunk, size) for chunk in chunks])

  zeros = jnp.zeros_like(arrays[0])
  return jax.lax.fori_loop(0, -(-num_items // size), step, (zeros, zeros))


def positives_and_negatives(
  similar: jax.Array,
) -> tuple[jax.Array, jax.Array]:
  """Return the positives and the negatives of every anchor, bool [B,B].

  Args:
    similar: [B,B] of 0 and 1; the diagonal is ignored.
  """
  others = similarity.off_diagonal(similar.shape[0])
  return others & (similar > 0), others & (similar == 0)


def mean_cost(sums: jax.Array, similar: jax.Array) -> jax.Array:
  """Average over the triplets of an anchor, then over anchors with a triplet.

  Args:
    sums: [B], the sum over an anchor's (anchor, positive, negative) triplets.
    similar: [B,B] of 0 and 1; the diagonal is ignored.

  Returns:
    A scalar; 0 without any triplet.
  """
  positives, negatives = positives_and_negatives(similar)
  num_triplets = jnp.sum(positives, axis=1) * jnp.sum(negatives, axis=1)
  means = sums / jnp.maximum(num_triplets, 1)
  return jnp.sum(means) / jnp.maximum(jnp.sum(num_triplets > 0), 1)
