"""DSH: contrastive loss on squared distances of logits."""

import jax.numpy as jnp

from dsh_jax.losses import activations, method, similarity


def dsh(
  num_bits: int,
  num_classes: int,
  seed: int,
  *,
  margin_per_bit: float = 2.0,
  quantization_weight: float = 0.01,
  activation: str = "identity",
) -> method.Method:
  """Return the loss of Deep Supervised Hashing.

  With y = 1 where two items share a label and d2 = |u_i - u_j|^2, a pair costs
  y d2 / 2 + (1 - y) max(0, margin_per_bit K - d2) / 2.

  Reduction: mean over all B x B ordered pairs; plus quantization_weight times
  the sum over bits, mean over items, of | |u| - 1 |.

  Source: Liu et al., "Deep Supervised Hashing for Fast Image Retrieval", CVPR
  2016.
  Differences: all ordered pairs (the paper counts each pair once and adds the
  penalty of both items to every pair, which doubles its share).

  Terms: similar, dissimilar (both divided by B x B), quantization (weighted).

  Settings:
    margin_per_bit: Margin on d2, divided by K.
    quantization_weight: Weight of the quantisation term.
    activation: A key of `activations.ACTIVATIONS`.
  """

  def objective(params, codes, labels, step):
    similar = similarity.shares_label(labels)
    distance = similarity.squared_distance(codes)
    far = jnp.maximum(margin_per_bit * num_bits - distance, 0)
    deviation = jnp.sum(jnp.abs(jnp.abs(codes) - 1), axis=1)
    terms = {
      "similar": jnp.mean(similar * distance) / 2,
      "dissimilar": jnp.mean((1 - similar) * far) / 2,
      "quantization": quantization_weight * jnp.mean(deviation),
    }
    return sum(terms.values()), terms

  return method.Method(
    num_bits=num_bits,
    num_classes=num_classes,
    objective=objective,
    activation=activations.get_activation(activation),
  )
