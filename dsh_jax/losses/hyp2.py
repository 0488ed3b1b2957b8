"""HyP2: learnable class proxies, and pairs of items without a shared label."""

import functools
import math
import pathlib

import jax
import jax.numpy as jnp
import numpy as np

from dsh_jax.losses import activations, method, similarity

_TABLE = pathlib.Path(__file__).with_name("hyp2_distances.csv")


@functools.cache
def _read_table() -> dict[tuple[int, int], int]:
  """Return (length, dimension) -> distance."""
  rows = np.genfromtxt(_TABLE, delimiter=",", skip_header=2, filling_values=0)
  return {
    (int(length), dimension): int(distance)
    for length, *distances in rows
    for dimension, distance in enumerate(distances, start=1)
    if distance
  }


def code_distance(num_bits: int, num_classes: int) -> int:
  """Return the distance that the codes of all classes can keep.

  It is the largest known minimum distance of a linear binary code of length K
  and dimension ceil(log2 L). Outside the release's table (K below 4, L above
  1,024, or more classes than codes) it is the upper bound of Griesmer, which is
  0 with more classes than codes.

  Source: codetable.xlsx of the authors' release, see `hyp2`; Griesmer, "A bound
  for error-correcting codes", IBM Journal of Research and Development 1960.
  """
  dimension = max(1, math.ceil(math.log2(num_classes)))
  distance = _read_table().get((num_bits, dimension))
  if distance is not None:
    return distance

  def griesmer_length(distance):
    return sum(-(-distance // 2**i) for i in range(dimension))

  distance = 0
  while griesmer_length(distance + 1) <= num_bits:
    distance += 1
  return distance


def hyp2(
  num_bits: int,
  num_classes: int,
  seed: int,
  *,
  pair_weight: float = 0.5,
  threshold: float = 2.0,
  activation: str = "identity",
  learning_rate_multiplier: float = 2.0,
) -> method.Method:
  """Return the Hybrid Proxy-Pair loss.

  p_l is a learnable proxy of class l (parameter proxies [L,K]) and
  z_il = cos(u_i, p_l). zeta = 1 - 2 d/K with d = `code_distance`, so that codes
  of unrelated classes need only be as far apart as codes can be. The loss is

      mean over (item, label) that the item has of      1 - z
    + mean over (item, label) that it lacks of          max(0, z - zeta)
    + pair_weight * mean over ordered pairs of items with two labels or more
      that share none of                                max(0, cos(u,u') - zeta)

  Reduction: as written; an empty mean is 0.

  Source: Xu et al., "HyP2 Loss: Beyond Hypersphere Metric Space for Multi-label
  Image Retrieval", ACM MM 2022, and the authors' release: identity head,
  proxies drawn from a normal of variance 2/L, with a learning rate of 0.02
  against 0.01 for the network (AlexNet), hence the multiplier 2.
  Differences: a zeta that is not in the release's table comes from a bound (see
  `code_distance`).

  Terms: positive, negative, pairs (weighted).

  Settings:
    pair_weight: Weight of the pair term.
    threshold: zeta, -1 to 1; above 1 selects the formula.
    activation: A key of `activations.ACTIVATIONS`.
    learning_rate_multiplier: Factor on the proxies' learning rate.
  """
  method.check_between("threshold", threshold, -1)
  zeta = threshold
  if threshold > 1:
    zeta = 1 - 2 * code_distance(num_bits, num_classes) / num_bits

  def init(key):
    normal = jax.random.normal(key, (num_classes, num_bits), jnp.float32)
    return {"proxies": math.sqrt(2 / num_classes) * normal}

  def masked_mean(x, mask):
    return jnp.sum(jnp.where(mask, x, 0)) / jnp.maximum(jnp.sum(mask), 1)

  def objective(params, codes, labels, step):
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
