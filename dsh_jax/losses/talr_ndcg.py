"""TALR-NDCG: tie-aware NDCG, relaxed."""

import jax.numpy as jnp

from dsh_jax.losses import activations, method, ranking, similarity


def talr_ndcg(
  num_bits: int,
  num_classes: int,
  seed: int,
  *,
  bins_per_bit: float = 0.5,
  activation: str = "tanh",
) -> method.Method:
  """Return the tie-aware NDCG loss.

  c_d is the soft count of the other items of the batch in bin d of the distance
  to a query (bins_per_bit K + 1 triangular bins from 0 to K, see `ranking`), C
  its cumulative sum, G_d the soft sum of gains 2^s - 1 (s the overlap):

      NDCG_q = (1/ideal) sum_d G_d / log2(C_(d-1) + (c_d + 1)/2 + 1)

  ideal is the DCG of the same list in its best order.

  Reduction: 1 minus the mean NDCG over queries with a relevant item (0 without
  any).

  Source: He et al., "Hashing as Tie-Aware Learning to Rank", CVPR 2018, the
  simplified form of the tie-aware NDCG.
  Differences: tanh(u) without the paper's slope parameter; the query is in
  neither histogram nor ideal (release: in the ideal). The release's half a bin
  per bit is for its B = 256: --config.train.batch_size=256.

  Terms: ndcg.

  Settings:
    bins_per_bit: Histogram bins divided by K; > 0.
    activation: "tanh", "softsign" or "tanh_continuation": codes in (-1, 1).
  """
  method.check_choice("activation", activation, activations.SIGNED)
  method.check_positive("bins_per_bit", bins_per_bit)
  bins = ranking.num_bins(bins_per_bit, num_bits)

  def objective(params, codes, labels, step):
    others = similarity.off_diagonal(codes.shape[0])
    shared = similarity.overlap(labels)
    distance = similarity.code_distance(codes) * (bins / num_bits)
    largest = ranking.largest_overlap(shared, others)
    gains = ranking.relative_gain(shared, largest[:, None])
    gains = ranking.soft_histogram(distance, jnp.where(others, gains, 0), bins)
    items = ranking.soft_histogram(distance, others.astype(codes.dtype), bins)
    before = jnp.cumsum(items, axis=1) - items
    rank = before + (items + 1) / 2
    # Rounding of the cumulative sum must not push a rank below its bound.
    discount = jnp.log2(jnp.maximum(rank, 0.5) + 1)
    dcg = jnp.sum(gains / discount, axis=1)
    ideal = ranking.ideal_dcg(shared, others, num_classes)
    num_queries = jnp.sum(ideal > 0)
    ndcg = jnp.sum(jnp.where(ideal > 0, dcg / jnp.maximum(ideal, 1e-6), 0))
    ndcg /= jnp.maximum(num_queries, 1)
    value = jnp.where(num_queries > 0, 1 - ndcg, 0)
    return value, {"ndcg": ndcg}

  return method.Method(
    num_bits=num_bits,
    num_classes=num_classes,
    objective=objective,
    activation=activations.get_activation(activation),
  )
