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
  """Makes the loss of Deep Pairwise-Supervised Hashing.

  With y = 1 where two items share a label and t = logit_scale <u_i,u_j> (not
  divided by K), a pair costs softplus(t) - y t.

  Reduction: mean over all B x B ordered pairs, diagonal included, gradients
  through both sides; plus quantization_weight times the mean of (u - sign u)^2
  over items and bits.

  Source: Li et al., "Feature Learning based Deep Supervised Hashing with
  Pairwise Labels", IJCAI 2016.
  Differences: pairs of the batch (the authors compare the batch with stored
  codes of the whole training set); their demo weighs quantisation with 10 after
  dividing a sum by the training-set size, which is another scale.

  Args:
    num_bits: K.
    num_classes: L.
    seed: Unused; nothing here is random.
    logit_scale: Scale of the logit t.
    quantization_weight: Weight of the quantisation term.
    activation: A key of `activations.ACTIVATIONS`.

  Returns:
    The loss; terms cross_entropy, quantization (weighted).

  Raises:
    UserError: The activation is unknown.
  """
  del seed

  def objective(params, codes, labels, step):
    del params, step
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
