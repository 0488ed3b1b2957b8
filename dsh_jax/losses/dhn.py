"""DHN: pairwise logistic likelihood with a bimodal Laplacian prior."""

import jax
import jax.numpy as jnp

from dsh_jax.losses import activations, method, quantization, similarity


def dhn(
  num_bits: int,
  num_classes: int,
  seed: int,
  *,
  logit_scale: float = 0.5,
  quantization_weight: float = 0.1,
  activation: str = "tanh",
) -> method.Method:
  """Return the loss of Deep Hashing Networks.

  With y = 1 where two items share a label and t = logit_scale <h_i,h_j> (not
  divided by K), a pair costs softplus(t) - y t.

  Reduction: mean over all B x B ordered pairs; plus quantization_weight times
  the mean of log cosh(|h| - 1) over items and bits.

  Source: Zhu et al., "Deep Hashing Network for Efficient Similarity Retrieval",
  AAAI 2016.
  Differences: the quantisation term is a mean over bits (paper: a sum), so its
  weight has another scale.

  Terms: cross_entropy, quantization (weighted).

  Settings:
    logit_scale: Scale of the logit t.
    quantization_weight: Weight of the quantisation term.
    activation: A key of `activations.ACTIVATIONS`.
  """

  def objective(params, codes, labels, step):
    similar = similarity.shares_label(labels)
    t = logit_scale * similarity.inner_product(codes, codes)
    terms = {
      "cross_entropy": jnp.mean(jax.nn.softplus(t) - similar * t),
      "quantization": quantization_weight * quantization.log_cosh(codes),
    }
    return terms["cross_entropy"] + terms["quantization"], terms

  return method.Method(
    num_bits=num_bits,
    num_classes=num_classes,
    objective=objective,
    activation=activations.get_activation(activation),
  )
