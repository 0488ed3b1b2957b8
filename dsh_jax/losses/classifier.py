"""A linear classifier on codes, trained with the network.

Its parameters are {"kernel": float32 [num_inputs,L], "bias": float32 [L]}; the
bias is optional.
"""

import jax
import jax.numpy as jnp


def init(
  key: jax.Array, num_inputs: int, num_classes: int, use_bias: bool = True
) -> dict:
  """Create the parameters: LeCun normal kernel, zero bias."""
  normal = jax.nn.initializers.lecun_normal()
  params = {"kernel": normal(key, (num_inputs, num_classes), jnp.float32)}
  if use_bias:
    params["bias"] = jnp.zeros((num_classes,), jnp.float32)
  return params


def class_logits(params: dict, inputs: jax.Array) -> jax.Array:
  """Return logits [B,L] of float inputs [B,num_inputs]."""
  product = jnp.matmul(
    inputs, params["kernel"], precision=jax.lax.Precision.HIGHEST
  )
  return product + params["bias"][None, :] if "bias" in params else product


def binary_cross_entropy(logits: jax.Array, labels: jax.Array) -> jax.Array:
  """Return mean softplus(z) - label z of logits z and labels, float [B,L]."""
  return jnp.mean(jax.nn.softplus(logits) - labels * logits)
