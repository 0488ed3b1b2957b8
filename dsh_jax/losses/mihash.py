"""MIHash: mutual information between distance and similarity."""

import jax.numpy as jnp

from dsh_jax.losses import activations, method, ranking, similarity


def mihash(
  num_bits: int,
  num_classes: int,
  seed: int,
  *,
  bins_per_bit: float = 0.5,
  activation: str = "tanh",
) -> method.Method:
  """Return the loss of MIHash.

  For an anchor, D is the distance (K - <h,h'>)/2 of another item of the batch
  and C whether they share a label. The loss is minus the mutual information
  I(D;C) = H(D) - H(D|C), in bits. Distributions come from soft histograms of
  bins_per_bit K + 1 triangular bins from 0 to K; bins_per_bit = 1 gives one for
  each integer distance.

  Reduction: mean over all B anchors, without self-pairs. An anchor with only
  similar items, or none, has I = 0.

  Source: Cakir et al., "MIHash: Online Hashing with Mutual Information", ICCV
  2017, and the authors' release for deep networks.
  Differences: tanh(u) (release: 2 sigmoid(p u) - 1, p = 1 by default); mean
  over anchors (release: sum). The release's half a bin per bit is for its
  B = 256: --config.train.batch_size=256.
  Limits: information has no direction: a code that puts similar items farther
  away scores as well. With few items per bin the estimate is biased upwards.
  From random weights with B = 128 it rose while retrieval stayed at chance.

  Terms: mutual_information (mean, not negated).

  Settings:
    bins_per_bit: Histogram bins divided by K; > 0.
    activation: "tanh", "softsign" or "tanh_continuation": codes in (-1, 1).
  """
  method.check_choice("activation", activation, activations.SIGNED)
  method.check_positive("bins_per_bit", bins_per_bit)
  bins = ranking.num_bins(bins_per_bit, num_bits)

  def entropy(counts, total):
    p = counts / jnp.maximum(total, 1)[:, None]
    # The gradient of 0 log 0 is NaN.
    return -jnp.sum(
      jnp.where(p > 0, p * jnp.log2(jnp.where(p > 0, p, 1)), 0), axis=1
    )

  def objective(params, codes, labels, step):
    others = similarity.off_diagonal(codes.shape[0])
    similar = jnp.where(others, similarity.shares_label(labels), 0)
    dissimilar = others.astype(codes.dtype) - similar
    position = similarity.code_distance(codes) * (bins / num_bits)
    near = ranking.soft_histogram(position, similar, bins)
    far = ranking.soft_histogram(position, dissimilar, bins)
    num_near = jnp.sum(similar, axis=1)
    num_far = jnp.sum(dissimilar, axis=1)
    num_all = num_near + num_far
    conditional = num_near * entropy(near, num_near)
    conditional += num_far * entropy(far, num_far)
    conditional /= jnp.maximum(num_all, 1)
    information = jnp.mean(entropy(near + far, num_all) - conditional)
    return -information, {"mutual_information": information}

  return method.Method(
    num_bits=num_bits,
    num_classes=num_classes,
    objective=objective,
    activation=activations.get_activation(activation),
  )
