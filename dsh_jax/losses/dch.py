"""DCH: Cauchy likelihood that concentrates similar codes in a small ball."""

import jax.numpy as jnp

from dsh_jax.losses import activations, method, similarity

# In bits. A dissimilar pair at distance 0 would cost infinity.
_MIN_DISTANCE = 1e-3


def dch(
  num_bits: int,
  num_classes: int,
  seed: int,
  *,
  gamma: float = 20.0,
  quantization_weight: float = 0.1,
  activation: str = "tanh",
) -> method.Method:
  """Return the loss of Deep Cauchy Hashing.

  With y = 1 where two items share a label and d = K/2 (1 - cos(h_i,h_j)), a
  pair costs w [y log(d/gamma) + log(1 + gamma/d)], that is

      w log(1 + d/gamma)  if y = 1,      w log(1 + gamma/d)  if y = 0,

  with w = |S|/|S1| for similar and |S|/|S0| for dissimilar pairs of the batch.

  Reduction: mean over all B x B ordered pairs; plus quantization_weight times
  the mean over items of log(1 + d(|h|, 1)/gamma), with the same distance d to
  the vector of ones.

  Source: Cao et al., "Deep Cauchy Hashing for Hamming Space Retrieval", CVPR
  2018.
  Differences: d of a dissimilar pair is at least 0.001 bits, which bounds its
  cost; closer pairs get no gradient. The formulas are the paper's. The script
  in the authors' release uses the squared Euclidean distance for d, excludes
  self-pairs, weights only similar pairs and has a quantisation weight of 0.

  Terms: cross_entropy, quantization (weighted).

  Settings:
    gamma: Scale of the Cauchy distribution, in bits; > 0.
    quantization_weight: Weight of the quantisation term.
    activation: A key of `activations.ACTIVATIONS`.
  """
  method.check_positive("gamma", gamma)

  def distance(x, y):
    return jnp.maximum(num_bits / 2 * (1 - similarity.cosine(x, y)), 0)

  def objective(params, codes, labels, step):
    similar = similarity.shares_label(labels)
    weights = similarity.balanced_weights(similar)
    d = distance(codes, codes)
    cost = jnp.where(
      similar > 0,
      jnp.log1p(d / gamma),
      jnp.log1p(gamma / jnp.maximum(d, _MIN_DISTANCE)),
    )
    ones = jnp.ones((1, num_bits), codes.dtype)
    to_ones = jnp.log1p(distance(jnp.abs(codes), ones) / gamma)
    terms = {
      "cross_entropy": jnp.mean(weights * cost),
      "quantization": quantization_weight * jnp.mean(to_ones),
    }
    return terms["cross_entropy"] + terms["quantization"], terms

  return method.Method(
    num_bits=num_bits,
    num_classes=num_classes,
    objective=objective,
    activation=activations.get_activation(activation),
  )
