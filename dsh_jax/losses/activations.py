"""Head activations: (logits [B,K], step) -> relaxed codes of the same type.

All are increasing and map zero to their threshold, so the hash code is the sign
of the logit.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from dsh_jax import errors

Activation = Callable[[jax.Array, jax.Array | int], jax.Array]


def tanh(logits: jax.Array, step: jax.Array | int = 0) -> jax.Array:
  """Return tanh(u), in (-1, 1)."""
  return jnp.tanh(logits)


def softsign(logits: jax.Array, step: jax.Array | int = 0) -> jax.Array:
  """Return u / (1 + |u|), in (-1, 1)."""
  return jax.nn.soft_sign(logits)


def identity(logits: jax.Array, step: jax.Array | int = 0) -> jax.Array:
  """Return the logits."""
  return logits


def sigmoid(logits: jax.Array, step: jax.Array | int = 0) -> jax.Array:
  """Return 1 / (1 + exp(-u)), in (0, 1); a bit is set above 1/2."""
  return jax.nn.sigmoid(logits)


def make_continuation(rate: float = 0.005, power: float = 0.5) -> Activation:
  """Return tanh(beta u) with growing beta = (1 + rate * step)^power.

  beta depends on the step alone, so a resumed run continues with the same beta.

  Source: the PyTorch release of HashNet (Cao et al., ICCV 2017).

  Args:
    rate: Growth per training step, >= 0.
    power: Exponent.
  """

  def tanh_continuation(
    logits: jax.Array, step: jax.Array | int = 0
  ) -> jax.Array:
    beta = (1 + rate * jnp.asarray(step, logits.dtype)) ** power
    return jnp.tanh(beta * logits)

  return tanh_continuation


def rescale_steps(activation: Activation, factor: float) -> Activation:
  """Return the activation as a function of `factor` times the step."""

  def rescaled(logits: jax.Array, step: jax.Array | int = 0) -> jax.Array:
    return activation(logits, jnp.asarray(step, jnp.float32) * factor)

  return rescaled


ACTIVATIONS: dict[str, Activation] = {
  "tanh": tanh,
  "softsign": softsign,
  "identity": identity,
  "sigmoid": sigmoid,
  "tanh_continuation": make_continuation(),
}


# Those with values in (-1, 1).
SIGNED = ("tanh", "softsign", "tanh_continuation")


def get_activation(name: str) -> Activation:
  """Return an activation of `ACTIVATIONS`; raise UserError if unknown."""
  if name not in ACTIVATIONS:
    raise errors.unknown(
      "activation", name, ACTIVATIONS, "config.loss.activation"
    )
  return ACTIVATIONS[name]
