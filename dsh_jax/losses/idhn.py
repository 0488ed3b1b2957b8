"""IDHN: cross-entropy on hard pairs, mean squared error on soft pairs."""

import jax
import jax.numpy as jnp

from dsh_jax.losses import activations, method, quantization, similarity

_BRANCHES = ("both", "hard", "soft")


def idhn(
  num_bits: int,
  num_classes: int,
  seed: int,
  *,
  logit_scale: float = 5.0,
  mse_weight: float = 0.1,
  quantization_weight: float = 0.1,
  hard_low: float = 0.01,
  hard_high: float = 0.99,
  branches: str = "both",
  activation: str = "tanh",
) -> method.Method:
  """Return the loss of Improved Deep Hashing Networks.

  With c the cosine of two label vectors and p = <h_i,h_j>, a pair is hard where
  c < hard_low or c > hard_high, else soft, and costs

      hard: softplus(t) - c t                          t = logit_scale p / K
      soft: mse_weight K ((p + K)/(2K) - c)^2

  Reduction: mean over all B x B ordered pairs; plus quantization_weight times
  the mean of | |h| - 1 | over items and bits.

  Source: Zhang et al., "Improved Deep Hashing with Soft Pairwise Similarity for
  Multi-label Image Retrieval", IEEE TMM 2020, arXiv 1803.02987, in the scaling
  of the authors' TensorFlow release.
  Differences: tanh head (the release uses softsign: `activation="softsign"`).

  Terms: cross_entropy and mse (both divided by B x B), quantization (weighted),
  soft_pairs (share).

  Settings:
    logit_scale: Scale of the logit t.
    mse_weight: Weight of the soft branch.
    quantization_weight: Weight of the quantisation term.
    hard_low: Cosine below which a pair counts as dissimilar, 0 to 1.
    hard_high: Cosine above which a pair counts as identical, 0 to 1.
    branches: "both", or for ablations the cost of every pair: "hard" (with
      target c) or "soft".
    activation: A key of `activations.ACTIVATIONS`.
  """
  method.check_choice("branches", branches, _BRANCHES)
  method.check_between("hard_low", hard_low, 0, 1)
  method.check_between("hard_high", hard_high, 0, 1)

  def objective(params, codes, labels, step):
    c = similarity.label_cosine(labels)
    product = similarity.inner_product(codes, codes)
    t = logit_scale / num_bits * product
    cross_entropy = jax.nn.softplus(t) - c * t
    mse = jnp.square((product + num_bits) / (2 * num_bits) - c)
    mse = mse_weight * num_bits * mse
    soft = (c >= hard_low) & (c <= hard_high)
    by_mse = {
      "both": soft,
      "hard": jnp.zeros_like(soft),
      "soft": jnp.ones_like(soft),
    }[branches]
    terms = {
      "cross_entropy": jnp.mean(jnp.where(by_mse, 0, cross_entropy)),
      "mse": jnp.mean(jnp.where(by_mse, mse, 0)),
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
