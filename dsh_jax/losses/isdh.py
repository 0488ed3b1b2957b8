"""ISDH: the first version of IDHN, with a squared sigmoid on soft pairs."""

import jax
import jax.numpy as jnp

from dsh_jax.losses import activations, method, quantization, similarity


def isdh(
  num_bits: int,
  num_classes: int,
  seed: int,
  *,
  logit_scale: float = 5.0,
  hard_weight: float = 10.0,
  quantization_weight: float = 0.1,
  hard_low: float = 0.01,
  hard_high: float = 0.99,
  activation: str = "tanh",
) -> method.Method:
  """Return the loss of Instance Similarity Deep Hashing.

  With c the cosine of two label vectors and t = logit_scale <h_i,h_j> / K, a
  pair is hard where c < hard_low or c > hard_high, else soft, and costs

      hard: hard_weight (softplus(t) - c t)
      soft: (c - sigmoid(t))^2

  Reduction: mean over all B x B ordered pairs; plus quantization_weight times
  the mean of | |h| - 1 | over items and bits.

  Source: arXiv 1803.02987 version 1; scale, thresholds and weights from the
  authors' release of that version.
  Differences: tanh head.

  Terms: cross_entropy and mse (both divided by B x B), quantization (weighted),
  soft_pairs (share).

  Settings:
    logit_scale: Scale of the logit t.
    hard_weight: Weight of the hard branch.
    quantization_weight: Weight of the quantisation term.
    hard_low: Cosine below which a pair counts as dissimilar, 0 to 1.
    hard_high: Cosine above which a pair counts as identical, 0 to 1.
    activation: A key of `activations.ACTIVATIONS`.
  """
  method.check_between("hard_low", hard_low, 0, 1)
  method.check_between("hard_high", hard_high, 0, 1)

  def objective(params, codes, labels, step):
    c = similarity.label_cosine(labels)
    t = logit_scale / num_bits * similarity.inner_product(codes, codes)
    cross_entropy = hard_weight * (jax.nn.softplus(t) - c * t)
    mse = jnp.square(c - jax.nn.sigmoid(t))
    soft = (c >= hard_low) & (c <= hard_high)
    terms = {
      "cross_entropy": jnp.mean(jnp.where(soft, 0, cross_entropy)),
      "mse": jnp.mean(jnp.where(soft, mse, 0)),
      "quantization": quantization_weight * quantization.absolute(codes),
    }
    value = terms["cross_entropy"] + terms["mse"] + terms["quantization"]
    return value, terms | {"soft_pairs": jnp.mean(soft.astype(codes.dtype))}

  return method.Method(
    num_bits=num_bits,
    num_classes=num_classes,
    objective=objective,
    activation=activations.get_activation(activation),
  )
