"""IDHN as DeepHash-pytorch implements it, for comparison only."""

import jax
import jax.numpy as jnp

from dsh_jax.losses import activations, method, quantization, similarity


def idhn_deephash_pytorch(
  num_bits: int,
  num_classes: int,
  seed: int,
  *,
  logit_scale: float = 0.5,
  mse_weight: float = 0.1,
  quantization_weight: float = 0.1,
  hard_low: float = 0.01,
  hard_high: float = 0.99,
  activation: str = "softsign",
) -> method.Method:
  """Return the loss of a port of IDHN; it is not the paper's.

  It serves only to compare with published numbers of that port. With c the
  cosine of two label vectors and t = logit_scale <h_i,h_j>, a pair costs

      hard (c < hard_low or c > hard_high): softplus(t) - c t
      soft:                                 mse_weight (t + K - 2 c K)^2

  With |t| <= K/2 the soft optimum t = (2c - 1) K is out of reach for c above
  0.75 or below 0.25. Use `idhn` for the paper's method.

  Reduction: mean over all B x B ordered pairs; plus quantization_weight times
  the mean of | |h| - 1 | over items and bits.

  Source: the DeepHash-pytorch collection of ports, whose head is
  u / (|u| + 1).
  Differences: pairs within the batch (port: the batch against stored codes of
  the whole training set); the thresholds of `idhn` select the branch.

  Terms: cross_entropy and mse (both divided by B x B), quantization (weighted),
  soft_pairs (share).

  Settings:
    logit_scale: Factor on the inner product, not divided by K.
    mse_weight: Weight of the soft branch.
    quantization_weight: Weight of the quantisation term.
    hard_low: Cosine below which a pair counts as dissimilar, 0 to 1.
    hard_high: Cosine above which a pair counts as identical, 0 to 1.
    activation: A key of `activations.ACTIVATIONS`.
  """
  method.check_between("hard_low", hard_low, 0, 1)
  method.check_between("hard_high", hard_high, 0, 1)

  def objective(params, codes, labels, step):
    c = similarity.label_cosine(labels)
    t = logit_scale * similarity.inner_product(codes, codes)
    cross_entropy = jax.nn.softplus(t) - c * t
    mse = mse_weight * jnp.square(t + num_bits - 2 * c * num_bits)
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
