"""GreedyHash: a classifier on the sign, with a straight-through gradient."""

import jax.numpy as jnp
import optax

from dsh_jax.losses import (
  activations,
  classifier,
  method,
  quantization,
  similarity,
)


def greedyhash(
  num_bits: int,
  num_classes: int,
  seed: int,
  *,
  quantization_weight: float = 0.1,
  activation: str = "identity",
  learning_rate_multiplier: float = 1.0,
) -> method.Method:
  """Return the loss of GreedyHash.

  A linear classifier without bias (parameter kernel) reads b = sign(u). The
  loss is softmax cross-entropy with the target distribution labels / number of
  labels. The gradient of b goes to u unchanged.

  Reduction: mean over items; plus quantization_weight times the mean of
  | |u| - 1 |^3 over items and bits.

  Source: Su et al., "Greedy Hash: Towards Fast Optimization for Accurate Hash
  Coding in CNN", NeurIPS 2018, and the authors' release.
  Differences: the target of an item with several labels is their uniform
  distribution (ports use only the first label).

  Terms: cross_entropy, quantization (weighted).

  Settings:
    quantization_weight: Weight of the quantisation term.
    activation: A key of `activations.ACTIVATIONS`.
    learning_rate_multiplier: Factor on the classifier's learning rate.
  """

  def objective(params, codes, labels, step):
    signs = quantization.straight_through_sign(codes)
    logits = classifier.class_logits(params, signs)
    targets = similarity.label_distribution(labels)
    cross_entropy = optax.losses.softmax_cross_entropy(logits, targets)
    terms = {
      "cross_entropy": jnp.mean(cross_entropy),
      "quantization": quantization_weight * quantization.cubed(codes),
    }
    return terms["cross_entropy"] + terms["quantization"], terms

  return method.Method(
    num_bits=num_bits,
    num_classes=num_classes,
    objective=objective,
    activation=activations.get_activation(activation),
    init=lambda key: classifier.init(
      key, num_bits, num_classes, use_bias=False
    ),
    learning_rate_multiplier=learning_rate_multiplier,
  )
