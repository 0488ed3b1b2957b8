"""Fixed binary codebooks: one code of +-1 per class, from the seed alone."""

import jax
import jax.numpy as jnp
import numpy as np

from dsh_jax import errors
from dsh_jax.losses import similarity

CODEBOOKS = ("auto", "hadamard", "bernoulli")
_DRAWS = 20


def create_codebook(
  kind: str, num_bits: int, num_classes: int, seed: int
) -> np.ndarray:
  """Creates one code per class.

  "hadamard": the first L rows of [H; -H], H the K x K Hadamard matrix of
  Sylvester; K must be a power of two and 2K >= L. "bernoulli": fair coins; of
  20 draws the one whose two closest codes are farthest apart. "auto": hadamard
  where it exists, else bernoulli.

  Source: CSQ (Yuan et al., CVPR 2020).

  Args:
    kind: One of `CODEBOOKS`.
    num_bits: K.
    num_classes: L.
    seed: Of the coins, >= 0.

  Returns:
    float32 [L,K] of +-1.

  Raises:
    UserError: An unknown kind, or no Hadamard codebook of this size.
  """
  if kind not in CODEBOOKS:
    raise errors.unknown("codebook", kind, CODEBOOKS, "config.loss.codebook")
  power_of_two = num_bits & (num_bits - 1) == 0
  exists = power_of_two and 2 * num_bits >= num_classes
  if kind == "hadamard" and not exists:
    raise errors.UserError(
      f"No Hadamard codebook of {num_bits} bits for {num_classes} classes;"
      " allowed: a power of two of at least half the classes. Change"
      " config.bits or set config.loss.codebook to 'bernoulli'."
    )
  if kind != "bernoulli" and exists:
    rows = np.ones((1, 1), np.float32)
    while len(rows) < num_bits:
      rows = np.block([[rows, rows], [rows, -rows]])
    return np.concatenate([rows, -rows])[:num_classes].astype(np.float32)
  rng = np.random.default_rng(seed)
  draws = rng.integers(0, 2, (_DRAWS, num_classes, num_bits)) * 2 - 1
  best = max(draws, key=_smallest_distance)
  return best.astype(np.float32)


def create_tie_breaker(num_bits: int, seed: int) -> np.ndarray:
  """Creates the code that fills the ties of `item_targets`.

  Args:
    num_bits: K.
    seed: Of the coins, >= 0.

  Returns:
    float32 [K] of +-1.
  """
  rng = np.random.default_rng([seed, num_bits])
  return (rng.integers(0, 2, num_bits) * 2 - 1).astype(np.float32)


def item_targets(
  labels: jax.Array, codebook: np.ndarray, tie_breaker: np.ndarray
) -> jax.Array:
  """Returns the majority code of an item's classes.

  Args:
    labels: float [B,L] of 0 and 1.
    codebook: [L,K] of +-1.
    tie_breaker: [K] of +-1, for bits on which the classes are split evenly.

  Returns:
    [B,K] of +-1, of the type of `labels`.
  """
  votes = similarity.inner_product(
    labels, jnp.asarray(codebook.T, labels.dtype)
  )
  ties = jnp.asarray(tie_breaker, labels.dtype)[None, :]
  return jnp.where(votes == 0, ties, jnp.sign(votes))


def _smallest_distance(codebook: np.ndarray) -> int:
  """Returns the smallest Hamming distance between two rows of +-1."""
  num_classes, num_bits = codebook.shape
  distance = (num_bits - codebook @ codebook.T) // 2
  distance[np.arange(num_classes), np.arange(num_classes)] = num_bits
  return int(distance.min())
