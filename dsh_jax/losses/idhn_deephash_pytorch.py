"""IDHN as the DeepHash-pytorch collection computes it, for comparison only."""

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
  """Makes the loss of a port of IDHN; not the paper's method.

  Kept only to compare with numbers that were made with that port. With c the
  cosine of two label vectors and t = logit_scale <h_i,h_j>, a pair costs

      hard (c < hard_low or c > hard_high): softplus(t) - c t
      soft:                                 mse_weight (t + K - 2 c K)^2

  With |t| <= K/2 the soft optimum t = (2c - 1) K cannot be reached for c above
  0.75 or below 0.25: use `idhn` for the paper's method.

  Reduction: mean over all B x B ordered pairs, diagonal included, gradients
  through both sides; plus quantization_weight times the mean of | |h| - 1 |
  over items and bits.

  Source: the DeepHash-pytorch collection of ports, whose head is
  u / (|u| + 1).
  Differences: in-batch pairs (the port compares the batch with a memory of the
  codes of the whole training set); the hard and soft branches are selected by
  the thresholds of `idhn`.

  Args:
    num_bits: K.
    num_classes: L.
    seed: Unused; nothing here is random.
    logit_scale: Factor on the inner product, not divided by K.
    mse_weight: Weight of the soft branch.
    quantization_weight: Weight of the quantisation term.
    hard_low: Cosine below which a pair counts as dissimilar, 0 to 1.
    hard_high: Cosine above which a pair counts as identical, 0 to 1.
    activation: A key of `activations.ACTIVATIONS`.

  Returns:
    The loss; terms cross_entropy, mse (each summed over its own pairs and
    divided by all B x B), quantization (weighted), soft_pairs (share).

  Raises:
    UserError: The activation is unknown.
  """
  del seed

  def objective(params, codes, labels, step):
    del params, step
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
