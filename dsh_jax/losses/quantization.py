"""How far relaxed codes are from hash codes, and how balanced bits are.

Penalties take codes float [B,K] and give a scalar of their type, 0 at the
least: a mean over items and bits unless a docstring says otherwise.
"""

import math

import jax
import jax.numpy as jnp


def binarize(x: jax.Array) -> jax.Array:
  """Returns the hash code as +-1 (x > 0 gives +1); its gradient is 0.

  Args:
    x: float, of any shape, which the result has too.
  """
  return jnp.where(x > 0, 1, -1).astype(x.dtype)


def straight_through_sign(x: jax.Array) -> jax.Array:
  """Returns `binarize(x)`, with the gradient of the identity.

  Source: Bengio et al., "Estimating or Propagating Gradients Through Stochastic
  Neurons for Conditional Computation", arXiv 1308.3432.
  """
  return x + jax.lax.stop_gradient(binarize(x) - x)


def absolute(codes: jax.Array) -> jax.Array:
  """Returns mean | |h| - 1 |."""
  return jnp.mean(jnp.abs(jnp.abs(codes) - 1))


def squared(codes: jax.Array) -> jax.Array:
  """Returns mean (|h| - 1)^2, which equals mean (h - sign h)^2."""
  return jnp.mean(jnp.square(codes - binarize(codes)))


def cubed(codes: jax.Array) -> jax.Array:
  """Returns mean | |h| - 1 |^3, of GreedyHash (Su et al., NeurIPS 2018)."""
  return jnp.mean(jnp.abs(codes - binarize(codes)) ** 3)


def log_cosh(codes: jax.Array) -> jax.Array:
  """Returns mean log cosh(|h| - 1), without the overflow of cosh.

  Source: DHN (Zhu et al., AAAI 2016).
  """
  x = jnp.abs(jnp.abs(codes) - 1)
  return jnp.mean(x + jax.nn.softplus(-2 * x) - math.log(2))


def bit_balance(codes: jax.Array) -> jax.Array:
  """Returns the squared norm of the mean code: 0 where bits are balanced.

  Source: DSRH (Zhao et al., CVPR 2015).
  """
  return jnp.sum(jnp.square(jnp.mean(codes, axis=0)))
