"""A linear classifier on codes, for the losses that train one with the codes.

Its parameters are {"kernel": float32 [num_inputs,L], "bias": float32 [L]}; one
without a bias has no "bias".
"""

import jax
import jax.numpy as jnp


def init(
  key: jax.Array, num_inputs: int, num_classes: int, use_bias: bool = True
) -> dict:
  """Creates the parameters: LeCun normal kernel, zero bias.

  Args:
    key: PRNG key of the kernel.
    num_inputs: Width of what the classifier reads, K for codes.
    num_classes: L.
    use_bias: Whether there is a bias.
  """
  normal = jax.nn.initializers.lecun_normal()
  params = {"kernel": normal(key, (num_inputs, num_classes), jnp.float32)}
  if use_bias:
    params["bias"] = jnp.zeros((num_classes,), jnp.float32)
  return params


def class_logits(params: dict, inputs: jax.Array) -> jax.Array:
  """Returns the logits [B,L] of float inputs [B,num_inputs].

  Args:
    params: From `init`.
    inputs: What is classified.
  """
  product = jnp.matmul(
    inputs, params["kernel"], precision=jax.lax.Precision.HIGHEST
  )
  return product + params["bias"][None, :] if "bias" in params else product


def binary_cross_entropy(logits: jax.Array, labels: jax.Array) -> jax.Array:
  """Returns the mean over items and classes of softplus(z) - label z.

  Args:
    logits: float [B,L], z.
    labels: float [B,L] of 0 and 1.
  """
  return jnp.mean(jax.nn.softplus(logits) - labels * logits)
