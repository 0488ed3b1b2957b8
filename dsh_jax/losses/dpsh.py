"""DPSH: pairwise logistic likelihood on logits, with a sign penalty."""

import jax
import jax.numpy as jnp

from dsh_jax.losses import activations, method, quantization, similarity


def dpsh(
  num_bits: int,
  num_classes: int,
  seed: int,
  *,
  logit_scale: float = 0.5,
  quantization_weight: float = 0.1,
  activation: str = "identity",
) -> method.Method:
  """Return the loss of Deep Pairwise-Supervised Hashing.

  With y = 1 where two items share a label and t = logit_scale <u_i,u_j> (not
  divided by K), a pair costs softplus(t) - y t.

  Reduction: mean over all B x B ordered pairs; plus quantization_weight times
  the mean of (u - sign u)^2 over items and bits.

  Source: Li et al., "Feature Learning based Deep Supervised Hashing with
  Pairwise Labels", IJCAI 2016.
  Differences: pairs within the batch (authors: the batch against stored codes
  of the whole training set). The authors' demo weights quantisation by 10 but
  divides a sum by the size of the training set, so its weight has another
  scale.

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
      "quantization": quantization_weight * quantization.squared(codes),
    }
    return terms["cross_entropy"] + terms["quantization"], terms

  return method.Method(
    num_bits=num_bits,
    num_classes=num_classes,
    objective=objective,
    activation=activations.get_activation(activation),
  )
