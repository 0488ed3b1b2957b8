"""HashNet: balanced pairwise likelihood, tanh that sharpens over training."""

import jax
import jax.numpy as jnp

from dsh_jax.losses import activations, method, similarity

_FORMS = ("paper", "release")


def hashnet(
  num_bits: int,
  num_classes: int,
  seed: int,
  *,
  logit_scale: float = 10.0,
  form: str = "paper",
  positive_weight: float = 1.0,
  continuation_rate: float = 0.005,
  continuation_power: float = 0.5,
  continuation_steps: int = 10_000,
) -> method.Method:
  """Return the loss of HashNet.

  With y = 1 where two items share a label and t = logit_scale <h_i,h_j> / K, a
  pair costs w (softplus(t) - y t), with w by form:

      "paper":   similar |S|/|S1| * (shared labels / labels of either),
                 dissimilar |S|/|S0|
      "release": similar positive_weight, dissimilar 1

  S, S1, S0 are all, the similar and the dissimilar pairs of the batch.
  h = tanh(beta u) with beta = (1 + continuation_rate * n) ^ continuation_power.
  n grows from 0 to continuation_steps over the num_steps of `make_loss`;
  without num_steps it is the step number.

  Reduction: "paper": mean over all B x B ordered pairs; "release": their sum
  divided by the sum of w. There is no quantisation term: the growing beta
  replaces it.

  Source: Cao et al., "HashNet: Deep Learning to Hash by Continuation", ICCV
  2017; "release" and beta, which reaches 7.1 after 10,000 steps, from the
  authors' PyTorch release.
  Differences: beta grows every step, in proportion to the run (release: every
  200 steps); all pairs of one batch (release: pairs between two batches, so
  without self-pairs). A dissimilar pair is not weighted by its label sets,
  which follows a survey's account of the paper.

  Terms: cross_entropy.

  Settings:
    logit_scale: Scale of the logit t.
    form: "paper" or "release".
    positive_weight: Weight of similar pairs of "release", > 0. The release uses
      1 for COCO, and suggests |S|/|S1| for other data.
    continuation_rate: Growth of beta per step, >= 0.
    continuation_power: Exponent of beta.
    continuation_steps: Steps over which beta grows, >= 1.
  """
  method.check_choice("form", form, _FORMS)
  method.check_positive("positive_weight", positive_weight)
  method.check_between("continuation_rate", continuation_rate, 0)
  method.check_positive("continuation_steps", continuation_steps)

  def paper_weights(similar, labels):
    iou = jnp.where(similar > 0, similarity.label_iou(labels), 1)
    return similarity.balanced_weights(similar) * iou

  def release_weights(similar, labels):
    del labels
    weights = jnp.where(similar > 0, positive_weight, 1)
    return weights / jnp.mean(weights)

  pair_weights = paper_weights if form == "paper" else release_weights

  def objective(params, codes, labels, step):
    similar = similarity.shares_label(labels)
    weights = pair_weights(similar, labels)
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
    activation_steps=continuation_steps,
  )
