"""DSRH: surrogate of NDCG, a weighted hinge over ranked triplets."""

import math

import jax
import jax.numpy as jnp

from dsh_jax.losses import (
  activations,
  hinges,
  method,
  quantization,
  ranking,
  similarity,
)

_NORMALIZERS = ("ideal", "top2", "none")
_SAMPLINGS = ("all", "release")
# With sampling="all", the ranking gradient grows about as B^2 relative to that
# of the mean code. Measured at the start of training on digit scenes and on
# random codes, B from 64 to 512, K from 16 to 64: the balance gradient is 2 to
# 8 % of the ranking gradient.
_BALANCE_PER_ITEM = 0.25


def dsrh(
  num_bits: int,
  num_classes: int,
  seed: int,
  *,
  margin_at_64_bits: float = 5.0,
  balance_weight: float = 1.0,
  normalizer: str = "ideal",
  sampling: str = "all",
  activation: str = "tanh",
) -> method.Method:
  """Return the loss of Deep Semantic Ranking Hashing.

  Every item q of the batch ranks all others. With overlap s and
  d_i = (K - <h_q,h_i>)/2,

      cost_q = sum over i, j with s_qi > s_qj of
                 (2^s_qi - 2^s_qj) / Z_q * max(0, margin + d_qi - d_qj)

  margin = margin_at_64_bits K/64.

  Reduction: mean of cost_q over all B anchors (0 without triplets); plus
  balance_weight times half the squared norm of the mean code, times B/4 with
  sampling="all", divided by B with sampling="release".

  normalizer: "ideal": Z_q = ideal DCG of the anchor's list, gains 2^s - 1,
  discounts 1/log2(1 + rank). "top2": Z_q = (2^a - 1)/ln 2 + (2^b - 1)/ln 3 for
  two items with overlaps a >= b: those sampled, or with sampling="all" the two
  best of the list. "none": Z_q = 1, which overflows float32 from 128 shared
  labels on.

  sampling: "all" uses every triplet. "release" draws for each anchor, from the
  seed and the step, one item with the largest overlap, one of the other
  relevant items and one irrelevant item, and sums the cost of the three
  triplets among them. Where the largest overlap is 1, it draws one relevant and
  one irrelevant item, and b is 0. A triplet is left out if the batch lacks one
  of its items.

  Source: Zhao et al., "Deep Semantic Ranking Based Hashing for Multi-Label
  Image Retrieval", CVPR 2015, arXiv 1501.06272; sampling, margin and "top2"
  from the authors' CUDA release. The release adds the balance of a batch once
  to the sum over its triplets, hence the division by B, which makes the term
  nearly inert (below 0.3 % of the gradient). B/4 makes it 2 to 8 % with all
  triplets.
  Differences: tanh head (the release's 2 sigmoid(u) - 1 is tanh(u/2)); lists
  within the batch (the release draws from the whole training set, itself
  included); anchors of rare classes are not repeated; the balance gradient of
  an anchor is not multiplied by the weight of its triplet; "ideal" is the
  paper's normaliser with the base-2 logarithm of the evaluation. The release
  divides the rate of the hash layer by 10 halfway and keeps that of the other
  layers; the schedule of the preset dsrh_release is one for all.

  Terms: ranking, balance (weighted).

  Settings:
    margin_at_64_bits: Margin in bits, for a code of 64 bits.
    balance_weight: Weight of the bit-balance term.
    normalizer: "ideal", "top2" or "none".
    sampling: "all" or "release".
    activation: A key of `activations.ACTIVATIONS`.
  """
  method.check_choice("normalizer", normalizer, _NORMALIZERS)
  method.check_choice("sampling", sampling, _SAMPLINGS)
  margin = margin_at_64_bits * num_bits / 64

  # Both return the sums [B], with gains divided by 2^largest, and the two
  # overlaps [B] of "top2".
  def all_triplets(distance, shared, others, largest):
    def gain(level):
      return 2.0 ** jnp.minimum(level - largest[:, None], 0)

    sums = hinges.sum_hinges(distance, shared, others, margin, gain)
    best = jax.lax.top_k(jnp.where(others, shared, 0), min(2, len(shared)))[0]
    return sums, best[:, 0], best[:, -1]

  def release_triplets(distance, shared, others, largest, step):
    key = jax.random.fold_in(jax.random.key(seed), step)
    shared = jnp.where(others, shared, -1)
    is_best = shared == largest[:, None]
    candidates = (
      is_best & (shared > 0),
      ~is_best & (shared > 0) & (largest > 1)[:, None],
      shared == 0,
    )
    rows = jnp.arange(len(shared))
    exists, overlaps, distances = [], [], []
    for draw, mask in zip(jax.random.split(key, 3), candidates, strict=True):
      item = jax.random.categorical(draw, jnp.where(mask, 0.0, -jnp.inf))
      exists.append(jnp.any(mask, axis=1))
      overlaps.append(jnp.where(exists[-1], shared[rows, item], 0))
      distances.append(distance[rows, item])
    sums = jnp.zeros_like(largest)
    gains = [2 ** (overlap - largest) for overlap in overlaps]
    for near, far in ((0, 1), (0, 2), (1, 2)):
      hinge = jnp.maximum(margin + distances[near] - distances[far], 0)
      cost = (gains[near] - gains[far]) * hinge
      sums += jnp.where(exists[near] & exists[far], cost, 0)
    return sums, overlaps[0], overlaps[1]

  def objective(params, codes, labels, step):
    distance = similarity.code_distance(codes)
    shared = similarity.overlap(labels)
    others = similarity.off_diagonal(len(shared))
    largest = ranking.largest_overlap(shared, others)
    lists = distance, shared, others, largest
    if sampling == "all":
      sums, first, second = all_triplets(*lists)
      balance_scale = len(codes) * _BALANCE_PER_ITEM
    else:
      sums, first, second = release_triplets(*lists, step)
      balance_scale = 1 / len(codes)
    if normalizer == "ideal":
      scale = ranking.ideal_dcg(shared, others, num_classes)
    elif normalizer == "top2":
      scale = ranking.relative_gain(first, largest) / math.log(2)
      scale += ranking.relative_gain(second, largest) / math.log(3)
    else:
      sums, scale = sums * 2**largest, jnp.ones_like(sums)
    balance = balance_weight * balance_scale * quantization.bit_balance(codes)
    terms = {
      "ranking": jnp.mean(sums / jnp.where(scale > 0, scale, 1)),
      "balance": balance / 2,
    }
    return terms["ranking"] + terms["balance"], terms

  return method.Method(
    num_bits=num_bits,
    num_classes=num_classes,
    objective=objective,
    activation=activations.get_activation(activation),
  )
