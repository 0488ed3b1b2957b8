"""Head activations: logits [B,K] and the step number -> relaxed codes.

The codes have the shape and the type of the logits. All activations keep the
order of logits around zero, so the hash code is the sign of the logit whatever
the activation.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from dsh_jax import errors

Activation = Callable[[jax.Array, jax.Array | int], jax.Array]


def tanh(logits: jax.Array, step: jax.Array | int = 0) -> jax.Array:
  """Returns tanh(u), in (-1, 1)."""
  del step
  return jnp.tanh(logits)


def softsign(logits: jax.Array, step: jax.Array | int = 0) -> jax.Array:
  """Returns u / (1 + |u|), in (-1, 1)."""
  del step
  return logits / (1 + jnp.abs(logits))


def identity(logits: jax.Array, step: jax.Array | int = 0) -> jax.Array:
  """Returns the logits."""
  del step
  return logits


def sigmoid(logits: jax.Array, step: jax.Array | int = 0) -> jax.Array:
  """Returns 1 / (1 + exp(-u)), in (0, 1); a bit is set above 1/2."""
  del step
  return jax.nn.sigmoid(logits)


def make_continuation(rate: float = 0.005, power: float = 0.5) -> Activation:
  """Makes tanh(beta u) whose beta = (1 + rate * step)^power grows.

  beta is a function of the step number alone, so a resumed run has the same
  beta as one that never stopped.

  Source: the PyTorch release of HashNet (Cao et al., ICCV 2017).

  Args:
    rate: Growth per training step, >= 0.
    power: Exponent.

  Returns:
    The activation; `step` may be traced.
  """

  def tanh_continuation(
    logits: jax.Array, step: jax.Array | int = 0
  ) -> jax.Array:
    beta = (1 + rate * jnp.asarray(step, logits.dtype)) ** power
    return jnp.tanh(beta * logits)

  return tanh_continuation


def rescale_steps(activation: Activation, factor: float) -> Activation:
  """Returns the activation of `factor` times the step number.

  Args:
    activation: What depends on the step.
    factor: Above 1 the activation changes sooner, below 1 later; > 0.
  """

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


def get_activation(name: str) -> Activation:
  """Returns an activation by name.

  Args:
    name: A key of `ACTIVATIONS`.

  Returns:
    The activation.

  Raises:
    UserError: The name is unknown.
  """
  if name not in ACTIVATIONS:
    raise errors.unknown(
      "activation", name, ACTIVATIONS, "config.loss.activation"
    )
  return ACTIVATIONS[name]
