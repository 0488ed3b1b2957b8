"""MIHash: mutual information between distance and neighbourhood."""

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
  """Makes the loss of MIHash.

  For an anchor, D is the distance (K - <h,h'>)/2 of another item of the batch
  and C whether they share a label. The loss is minus the mutual information
  I(D;C) = H(D) - H(D|C), in bits (base-2 logarithm), with distributions from
  soft histograms of bins_per_bit K + 1 triangular bins, from 0 to K:
  bins_per_bit = 1 gives one for each integer distance.

  Reduction: mean over all B anchors; the anchor itself is not on its list. An
  anchor with only neighbours, or none, has I = 0.

  Source: Cakir et al., "MIHash: Online Hashing with Mutual Information", ICCV
  2017, and the authors' release for deep networks.
  Differences: tanh(u) (release: 2 sigmoid(p u) - 1, p = 1 by default); mean
  over anchors in place of the sum. The release's half a bin per bit goes with
  its B = 256.
  Limits: information has no direction, so neighbours that are farther away
  than others count as much as nearer ones; and with few items per bin its
  estimate is too high by chance alone. From random weights with B = 128 it was
  seen to rise while retrieval stayed at chance.

  Args:
    num_bits: K.
    num_classes: L.
    seed: Unused; nothing here is random.
    bins_per_bit: Bins of the histograms, divided by K; > 0.
    activation: A key of `activations.ACTIVATIONS`.

  Returns:
    The loss; term mutual_information (mean, not negated).

  Raises:
    UserError: The activation is unknown.
  """
  del seed
  bins = ranking.num_bins(bins_per_bit, num_bits)

  def entropy(counts, total):
    p = counts / jnp.maximum(total, 1)[:, None]
    # Not 0 log 0: its gradient would not be a number.
    return -jnp.sum(
      jnp.where(p > 0, p * jnp.log2(jnp.where(p > 0, p, 1)), 0), axis=1
    )

  def objective(params, codes, labels, step):
    del params, step
    others = similarity.off_diagonal(codes.shape[0])
    similar = jnp.where(others, similarity.shares_label(labels), 0)
    different = others.astype(codes.dtype) - similar
    position = similarity.code_distance(codes) * (bins / num_bits)
    near = ranking.soft_histogram(position, similar, bins)
    far = ranking.soft_histogram(position, different, bins)
    num_near = jnp.sum(similar, axis=1)
    num_far = jnp.sum(different, axis=1)
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
