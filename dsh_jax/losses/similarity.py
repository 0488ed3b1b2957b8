"""How alike two items are: by their labels, and by their relaxed codes.

Labels are [B,L] of 0 and 1, codes [B,K]; both are float, and so are results, of
the same type. Those of a batch with itself are [B,B] over its ordered pairs,
self-pairs on the diagonal. Products use full float32 precision on every
platform: the default of accelerators rounds the factors, and 1 - cosine of near
codes would be lost.
"""

import jax
import jax.numpy as jnp

# Below this squared norm a vector has no direction; its cosine is then near 0
# and its gradient stays finite.
_MIN_SQUARED_NORM = 1e-12


def inner_product(x: jax.Array, y: jax.Array) -> jax.Array:
  """Returns <x_i, y_j> for x [M,D] and y [N,D], as [M,N]."""
  return jnp.matmul(x, y.T, precision=jax.lax.Precision.HIGHEST)


def normalize(x: jax.Array) -> jax.Array:
  """Returns the rows of x [M,D] scaled to norm 1; a zero row stays zero."""
  squared = jnp.sum(x * x, axis=1, keepdims=True)
  return x * jax.lax.rsqrt(jnp.maximum(squared, _MIN_SQUARED_NORM))


def cosine(x: jax.Array, y: jax.Array) -> jax.Array:
  """Returns cos(x_i, y_j) for x [M,D] and y [N,D], as [M,N]."""
  return inner_product(normalize(x), normalize(y))


def squared_distance(x: jax.Array) -> jax.Array:
  """Returns |x_i - x_j|^2 for x [B,D], as [B,B], exactly 0 on the diagonal."""
  gram = inner_product(x, x)
  squared = jnp.sum(x * x, axis=1)
  distance = squared[:, None] + squared[None, :] - 2 * gram
  return jnp.where(off_diagonal(x.shape[0]), jnp.maximum(distance, 0), 0)


def code_distance(codes: jax.Array) -> jax.Array:
  """Returns (K - <h_i,h_j>)/2, [B,B]: the Hamming distance of codes of +-1."""
  return (codes.shape[1] - inner_product(codes, codes)) / 2


def off_diagonal(size: int) -> jax.Array:
  """Returns bool [size,size], False for self-pairs."""
  return ~jnp.eye(size, dtype=bool)


def overlap(labels: jax.Array) -> jax.Array:
  """Returns s_ij [B,B], the number of labels two items share, exactly."""
  return inner_product(labels, labels)


def shares_label(labels: jax.Array) -> jax.Array:
  """Returns y_ij [B,B], 1 where two items share a label, else 0."""
  return (overlap(labels) > 0).astype(labels.dtype)


def label_cosine(labels: jax.Array) -> jax.Array:
  """Returns c_ij = s_ij / sqrt(n_i n_j), n = number of labels of an item.

  Of shape [B,B], from 0 to 1. An item without labels has no cosine; it gets 0
  (the data protocols drop such items).
  """
  count = jnp.sum(labels, axis=1)
  product = count[:, None] * count[None, :]
  return overlap(labels) / jnp.sqrt(jnp.maximum(product, 1))


def label_iou(labels: jax.Array) -> jax.Array:
  """Returns |intersection| / |union| of the label sets, [B,B] from 0 to 1.

  Two items without labels get 0.
  """
  count = jnp.sum(labels, axis=1)
  shared = overlap(labels)
  union = count[:, None] + count[None, :] - shared
  return shared / jnp.maximum(union, 1)


def label_distribution(labels: jax.Array) -> jax.Array:
  """Returns labels / number of labels, [B,L]: a target for a softmax.

  Rows add up to 1; that of an item without labels is 0.
  """
  count = jnp.sum(labels, axis=1, keepdims=True)
  return labels / jnp.maximum(count, 1)


def balanced_weights(similar: jax.Array) -> jax.Array:
  """Returns |S|/|S1| on similar pairs and |S|/|S0| on the others.

  S, S1, S0 are all, the similar and the other pairs.

  Source: HashNet (Cao et al., ICCV 2017).

  Args:
    similar: float [B,B] of 0 and 1.

  Returns:
    [B,B] weights; a class of pairs that is empty has no influence.
  """
  num_similar = jnp.sum(similar)
  num_other = similar.size - num_similar
  return jnp.where(
    similar > 0,
    similar.size / jnp.maximum(num_similar, 1),
    similar.size / jnp.maximum(num_other, 1),
  )
