"""HyP2: learnable class proxies, plus pairs of items that share nothing."""

import math

import jax
import jax.numpy as jnp

from dsh_jax.losses import activations, method, similarity

# Thresholds of the paper: ceil(log2 L) -> K -> zeta.
_PAPER_THRESHOLDS = {
  5: {12: 0.333, 16: 0.0, 24: 0.0, 32: 0.0, 36: 0.056, 48: 0.0, 64: 0.0},
  6: {12: 0.333, 16: 0.25, 24: 0.167, 32: 0.0, 36: 0.111, 48: 0.0, 64: 0.0},
}


def default_threshold(num_bits: int, num_classes: int) -> float:
  """Returns the cosine zeta above which unrelated codes are too close.

  The paper takes zeta = 1 - 2d/K, d the largest minimum distance of a linear
  binary code of length K with at least L words, from a table of codes. Its
  values are used where known (L from 17 to 64 at the usual lengths). Elsewhere
  d is the largest that the Griesmer bound allows, at least 1, which is an upper
  bound of the true one, and zeta is not below 0.

  Source: Xu et al., ACM MM 2022, see `hyp2`.

  Args:
    num_bits: K, at least 1.
    num_classes: L, at least 1.

  Returns:
    zeta in [0, 1).
  """
  dimension = max(1, math.ceil(math.log2(num_classes)))
  known = _PAPER_THRESHOLDS.get(dimension, {})
  if num_bits in known:
    return known[num_bits]

  def griesmer_length(distance):
    return sum(-(-distance // 2**i) for i in range(dimension))

  distance = 1
  while griesmer_length(distance + 1) <= num_bits:
    distance += 1
  return max(0.0, 1 - 2 * distance / num_bits)


def hyp2(
  num_bits: int,
  num_classes: int,
  seed: int,
  *,
  pair_weight: float = 0.5,
  threshold: float = -1.0,
  activation: str = "identity",
  learning_rate_multiplier: float = 2.0,
) -> method.Method:
  """Makes the Hybrid Proxy-Pair loss.

  p_l is a learnable proxy of class l (parameter proxies [L,K]) and
  z_il = cos(u_i, p_l):

      mean over (item, label) that the item has of      1 - z
    + mean over (item, label) that it has not of        max(0, z - zeta)
    + pair_weight * mean over ordered pairs of items with two labels or more
      that share none of                                max(0, cos(u,u') - zeta)

  Reduction: as written; a mean over nothing is 0.

  Source: Xu et al., "HyP2 Loss: Beyond Hypersphere Metric Space for Multi-label
  Image Retrieval", ACM MM 2022, and the authors' release: identity head,
  proxies drawn from a normal of variance 2/L, with a learning rate of 0.02
  beside 0.01 for the network (AlexNet), hence the multiplier 2.
  Differences: zeta of lengths that the paper does not list comes from a bound
  (see `default_threshold`).

  Args:
    num_bits: K.
    num_classes: L.
    seed: Unused; `init` takes its own key.
    pair_weight: Weight of the pair term.
    threshold: zeta, at most 1; below 0 stands for `default_threshold`.
    activation: A key of `activations.ACTIVATIONS`.
    learning_rate_multiplier: Factor on the proxies' learning rate.

  Returns:
    The loss; terms positive, negative, pairs (weighted).

  Raises:
    UserError: The activation is unknown.
  """
  del seed
  zeta = threshold
  if threshold < 0:
    zeta = default_threshold(num_bits, num_classes)

  def init(key):
    draw = jax.random.normal(key, (num_classes, num_bits), jnp.float32)
    return {"proxies": math.sqrt(2 / num_classes) * draw}

  def masked_mean(x, mask):
    return jnp.sum(jnp.where(mask, x, 0)) / jnp.maximum(jnp.sum(mask), 1)

  def objective(params, codes, labels, step):
    del step
    z = similarity.cosine(codes, params["proxies"].astype(codes.dtype))
    several = jnp.sum(labels, axis=1) > 1
    unrelated = similarity.overlap(labels) == 0
    unrelated &= several[:, None] & several[None, :]
    close = jnp.maximum(similarity.cosine(codes, codes) - zeta, 0)
    terms = {
      "positive": masked_mean(1 - z, labels > 0),
      "negative": masked_mean(jnp.maximum(z - zeta, 0), labels == 0),
      "pairs": pair_weight * masked_mean(close, unrelated),
    }
    return sum(terms.values()), terms

  return method.Method(
    num_bits=num_bits,
    num_classes=num_classes,
    objective=objective,
    activation=activations.get_activation(activation),
    init=init,
    learning_rate_multiplier=learning_rate_multiplier,
  )
