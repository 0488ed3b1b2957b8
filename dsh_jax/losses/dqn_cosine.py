"""Squared error of code cosines: a control based on DQN."""

import jax.numpy as jnp

from dsh_jax.losses import activations, method, similarity


def dqn_cosine(
  num_bits: int,
  num_classes: int,
  seed: int,
  *,
  activation: str = "tanh",
) -> method.Method:
  """Return the pairwise cosine loss of Deep Quantization Networks.

  With y = 1 where two items share a label, a pair costs
  (cos(h_i,h_j) - (2y - 1))^2.

  Reduction: mean over all B x B ordered pairs.

  Source: Cao et al., "Deep Quantization Network for Efficient Image Retrieval",
  AAAI 2016.
  Differences: DQN is a product-quantisation method. This control keeps only its
  similarity loss and uses signs as codes; there is no quantisation term.

  Terms: mse.

  Settings:
    activation: A key of `activations.ACTIVATIONS`.
  """

  def objective(params, codes, labels, step):
    target = 2 * similarity.shares_label(labels) - 1
    value = jnp.mean(jnp.square(similarity.cosine(codes, codes) - target))
    return value, {"mse": value}

  return method.Method(
    num_bits=num_bits,
    num_classes=num_classes,
    objective=objective,
    activation=activations.get_activation(activation),
  )
