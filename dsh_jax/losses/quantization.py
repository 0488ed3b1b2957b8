"""Penalties of relaxed codes: distance from hash codes, imbalance of bits.

Penalties map codes float [B,K] to a scalar of their type, at least 0.
"""

import math

import jax
import jax.numpy as jnp


def binarize(x: jax.Array) -> jax.Array:
  """Return +1 where x > 0, else -1, with x's shape and type; no gradient."""
  return jnp.where(x > 0, 1, -1).astype(x.dtype)


def straight_through_sign(x: jax.Array) -> jax.Array:
  """Return `binarize(x)` with the gradient of the identity.

  Source: Bengio et al., "Estimating or Propagating Gradients Through Stochastic
  Neurons for Conditional Computation", arXiv 1308.3432.
  """
  return x + jax.lax.stop_gradient(binarize(x) - x)


def absolute(codes: jax.Array) -> jax.Array:
  """Return mean | |h| - 1 |."""
  return jnp.mean(jnp.abs(jnp.abs(codes) - 1))


def squared(codes: jax.Array) -> jax.Array:
  """Return mean (|h| - 1)^2, which equals mean (h - sign h)^2."""
  return jnp.mean(jnp.square(codes - binarize(codes)))


def cubed(codes: jax.Array) -> jax.Array:
  """Return mean | |h| - 1 |^3, of GreedyHash (Su et al., NeurIPS 2018)."""
  return jnp.mean(jnp.abs(codes - binarize(codes)) ** 3)


def log_cosh(codes: jax.Array) -> jax.Array:
  """Return mean log cosh(|h| - 1), of DHN (Zhu et al., AAAI 2016).

  Written so that cosh does not overflow.
  """
  x = jnp.abs(jnp.abs(codes) - 1)
  return jnp.mean(x + jax.nn.softplus(-2 * x) - math.log(2))


def bit_balance(codes: jax.Array) -> jax.Array:
  """Return the squared norm of the mean code, of DSRH (Zhao et al., 2015)."""
  return jnp.sum(jnp.square(jnp.mean(codes, axis=0)))
