"""Similarity of items, by their labels or by their relaxed codes.

Labels are [B,L] of 0 and 1, codes [B,K]. Both are float, as are the results, of
the same type. Products use full float32 precision on every platform: by
default, accelerators round the factors, which destroys 1 - cosine of near
codes.
"""

import jax
import jax.numpy as jnp

# Bounds the gradient of the cosine of a vector near 0.
_MIN_SQUARED_NORM = 1e-12


def inner_product(x: jax.Array, y: jax.Array) -> jax.Array:
  """Return <x_i, y_j> [M,N] of x [M,D] and y [N,D]."""
  return jnp.matmul(x, y.T, precision=jax.lax.Precision.HIGHEST)


def normalize(x: jax.Array) -> jax.Array:
  """Return the rows of x [M,D] scaled to norm 1; a zero row stays zero."""
  squared = jnp.sum(x * x, axis=1, keepdims=True)
  return x * jax.lax.rsqrt(jnp.maximum(squared, _MIN_SQUARED_NORM))


def cosine(x: jax.Array, y: jax.Array) -> jax.Array:
  """Return cos(x_i, y_j) [M,N] of x [M,D] and y [N,D]."""
  return inner_product(normalize(x), normalize(y))


def squared_distance(x: jax.Array) -> jax.Array:
  """Return |x_i - x_j|^2 [B,B] of x [B,D], exactly 0 on the diagonal."""
  gram = inner_product(x, x)
  squared = jnp.sum(x * x, axis=1)
  distance = squared[:, None] + squared[None, :] - 2 * gram
  return jnp.where(off_diagonal(x.shape[0]), jnp.maximum(distance, 0), 0)


def code_distance(codes: jax.Array) -> jax.Array:
  """Return (K - <h_i,h_j>)/2 [B,B]: the Hamming distance of codes of +-1."""
  return (codes.shape[1] - inner_product(codes, codes)) / 2


def off_diagonal(size: int) -> jax.Array:
  """Return bool [size,size], False on the diagonal."""
  return ~jnp.eye(size, dtype=bool)


def overlap(labels: jax.Array) -> jax.Array:
  """Return s_ij [B,B], the number of shared labels, exact."""
  return inner_product(labels, labels)


def shares_label(labels: jax.Array) -> jax.Array:
  """Return y_ij [B,B], 1 where two items share a label, else 0."""
  return (overlap(labels) > 0).astype(labels.dtype)


def label_cosine(labels: jax.Array) -> jax.Array:
  """Return c_ij = s_ij / sqrt(n_i n_j) [B,B], n the number of labels.

  It is 0 for an item without labels (data protocols drop these).
  """
  count = jnp.sum(labels, axis=1)
  product = count[:, None] * count[None, :]
  return overlap(labels) / jnp.sqrt(jnp.maximum(product, 1))


def label_iou(labels: jax.Array) -> jax.Array:
  """Return |intersection| / |union| [B,B] of label sets; 0 if both empty."""
  count = jnp.sum(labels, axis=1)
  shared = overlap(labels)
  union = count[:, None] + count[None, :] - shared
  return shared / jnp.maximum(union, 1)


def label_distribution(labels: jax.Array) -> jax.Array:
  """Return labels / number of labels [B,L]; 0 for an item without labels."""
  count = jnp.sum(labels, axis=1, keepdims=True)
  return labels / jnp.maximum(count, 1)


def balanced_weights(similar: jax.Array) -> jax.Array:
  """Return |S|/|S1| on similar pairs and |S|/|S0| on the others.

  S, S1, S0 are all, the similar and the other pairs.

  Source: HashNet (Cao et al., ICCV 2017).

  Args:
    similar: float [B,B] of 0 and 1.
  """
  num_similar = jnp.sum(similar)
  num_other = similar.size - num_similar
  return jnp.where(
    similar > 0,
    similar.size / jnp.maximum(num_similar, 1),
    similar.size / jnp.maximum(num_other, 1),
  )
