"""TALR-AP: tie-aware average precision, relaxed."""

import jax.numpy as jnp

from dsh_jax.losses import activations, method, ranking, similarity


def talr_ap(
  num_bits: int,
  num_classes: int,
  seed: int,
  *,
  bins_per_bit: float = 0.5,
  activation: str = "tanh",
) -> method.Method:
  """Return the tie-aware average-precision loss.

  c+_d and c_d are soft counts of relevant and of all other items of the batch
  in bin d of the distance to a query (bins_per_bit K + 1 triangular bins from 0
  to K, see `ranking`). C+ and C are their cumulative sums, N+ the number of
  relevant items:

      AP_q = (1/N+) sum_d c+_d (C+_(d-1) + C+_d + 1) / (C_(d-1) + C_d + 1)

  Reduction: 1 minus the mean AP over queries with a relevant item (0 without
  any).

  Source: He et al., "Hashing as Tie-Aware Learning to Rank", CVPR 2018, the
  simplified form of the tie-aware AP.
  Differences: tanh(u) without the paper's slope parameter; half a bin per bit
  for all K (authors: from 32 bits on, one bin per bit below). The authors train
  with B = 256: --config.train.batch_size=256.

  Terms: average_precision.

  Settings:
    bins_per_bit: Histogram bins divided by K; > 0.
    activation: "tanh", "softsign" or "tanh_continuation": codes in (-1, 1).
  """
  method.check_choice("activation", activation, activations.SIGNED)
  method.check_positive("bins_per_bit", bins_per_bit)
  bins = ranking.num_bins(bins_per_bit, num_bits)

  def objective(params, codes, labels, step):
    others = similarity.off_diagonal(codes.shape[0])
    similar = jnp.where(others, similarity.shares_label(labels), 0)
    distance = similarity.code_distance(codes) * (bins / num_bits)
    relevant = ranking.soft_histogram(distance, similar, bins)
    items = ranking.soft_histogram(distance, others.astype(codes.dtype), bins)
    cumulative_relevant = jnp.cumsum(relevant, axis=1)
    cumulative_items = jnp.cumsum(items, axis=1)
    precision = (2 * cumulative_relevant - relevant + 1) / (
      2 * cumulative_items - items + 1
    )
    num_relevant = jnp.sum(similar, axis=1)
    per_query = jnp.sum(relevant * precision, axis=1)
    per_query /= jnp.maximum(num_relevant, 1)
    num_queries = jnp.sum(num_relevant > 0)
    average = jnp.sum(per_query) / jnp.maximum(num_queries, 1)
    value = jnp.where(num_queries > 0, 1 - average, 0)
    return value, {"average_precision": average}

  return method.Method(
    num_bits=num_bits,
    num_classes=num_classes,
    objective=objective,
    activation=activations.get_activation(activation),
  )
