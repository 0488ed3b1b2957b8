"""HashNet: balanced pairwise likelihood, tanh that sharpens with time."""

import jax
import jax.numpy as jnp

from dsh_jax.losses import activations, method, similarity


def hashnet(
  num_bits: int,
  num_classes: int,
  seed: int,
  *,
  logit_scale: float = 10.0,
  continuation_rate: float = 0.005,
  continuation_power: float = 0.5,
) -> method.Method:
  """Makes the loss of HashNet.

  With y = 1 where two items share a label and t = logit_scale <h_i,h_j> / K, a
  pair costs w (softplus(t) - y t). A similar pair has
  w = |S|/|S1| * (shared labels / labels of either), a dissimilar one
  w = |S|/|S0|; S, S1, S0 are all, the similar and the dissimilar pairs of the
  batch. h = tanh(beta u) with beta = (1 + continuation_rate * step) ^
  continuation_power.

  Reduction: mean over all B x B ordered pairs, diagonal included, gradients
  through both sides. No quantisation term: the growing beta replaces it.

  Source: Cao et al., "HashNet: Deep Learning to Hash by Continuation", ICCV
  2017, and the authors' PyTorch release for beta.
  Differences: beta grows every step (release: in stairs of 200 steps); pairs
  within the batch. The weight 1 of a dissimilar pair's label sets follows a
  survey's account of the paper.

  Args:
    num_bits: K.
    num_classes: L.
    seed: Unused; nothing here is random.
    logit_scale: Scale of the logit t.
    continuation_rate: Growth of beta per step, >= 0.
    continuation_power: Exponent of beta.

  Returns:
    The loss; term cross_entropy.
  """
  del seed

  def objective(params, codes, labels, step):
    del params, step
    similar = similarity.shares_label(labels)
    weights = similarity.balanced_weights(similar)
    weights = weights * jnp.where(similar > 0, similarity.label_iou(labels), 1)
    t = logit_scale / num_bits * similarity.inner_product(codes, codes)
    value = jnp.mean(weights * (jax.nn.softplus(t) - similar * t))
    return value, {"cross_entropy": value}

  return method.Method(
    num_bits=num_bits,
    num_classes=num_classes,
    objective=objective,
    activation=activations.make_continuation(
      continuation_rate, continuation_power
    ),
  )
