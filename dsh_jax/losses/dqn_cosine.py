"""Squared error of code cosines: a control after DQN."""

import jax.numpy as jnp

from dsh_jax.losses import activations, method, similarity


def dqn_cosine(
  num_bits: int,
  num_classes: int,
  seed: int,
  *,
  activation: str = "tanh",
) -> method.Method:
  """Makes the pairwise cosine loss of Deep Quantization Networks, alone.

  With y = 1 where two items share a label, a pair costs
  (cos(h_i,h_j) - (2y - 1))^2.

  Reduction: mean over all B x B ordered pairs, diagonal included, gradients
  through both sides.

  Source: Cao et al., "Deep Quantization Network for Efficient Image Retrieval",
  AAAI 2016.
  Differences: DQN is a product-quantisation method. This control keeps its
  similarity loss and takes signs as codes; it has no quantisation term.

  Args:
    num_bits: K.
    num_classes: L.
    seed: Unused; nothing here is random.
    activation: A key of `activations.ACTIVATIONS`.

  Returns:
    The loss; term mse.

  Raises:
    UserError: The activation is unknown.
  """
  del seed

  def objective(params, codes, labels, step):
    del params, step
    target = 2 * similarity.shares_label(labels) - 1
    value = jnp.mean(jnp.square(similarity.cosine(codes, codes) - target))
    return value, {"mse": value}

  return method.Method(
    num_bits=num_bits,
    num_classes=num_classes,
    objective=objective,
    activation=activations.get_activation(activation),
  )
