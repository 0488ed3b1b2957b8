"""Fixed binary codebooks: one code of +-1 per class, drawn from a seed."""

import jax
import jax.numpy as jnp
import numpy as np

from dsh_jax import errors
from dsh_jax.losses import similarity

CODEBOOKS = ("auto", "hadamard", "bernoulli")
_NUM_DRAWS = 20


def create_codebook(
  kind: str, num_bits: int, num_classes: int, seed: int
) -> np.ndarray:
  """Create one code per class, float32 [L,K] of +-1.

  "hadamard": the first L rows of [H; -H], H the K x K Hadamard matrix of
  Sylvester; K must be a power of two and 2K >= L. "bernoulli": fair coins; of
  20 draws, the one with the largest minimum distance. "auto": "hadamard" where
  it exists, else "bernoulli".

  Source: CSQ (Yuan et al., CVPR 2020).

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
    index = np.arange(num_bits)
    is_odd = np.bitwise_count(index[:, None] & index) % 2
    rows = np.where(is_odd, np.float32(-1), np.float32(1))
    return np.concatenate([rows, -rows])[:num_classes]
  rng = np.random.default_rng(seed)
  draws = rng.integers(0, 2, (_NUM_DRAWS, num_classes, num_bits)) * 2 - 1
  return max(draws, key=_minimum_distance).astype(np.float32)


def create_tie_breaker(num_bits: int, seed: int) -> np.ndarray:
  """Create the code float32 [K] of +-1 that `item_targets` breaks ties with."""
  rng = np.random.default_rng([seed, num_bits])
  return (rng.integers(0, 2, num_bits) * 2 - 1).astype(np.float32)


def item_targets(
  labels: jax.Array, codebook: np.ndarray, tie_breaker: np.ndarray
) -> jax.Array:
  """Return the bitwise majority of the codes of each item's classes.

  Args:
    labels: float [B,L] of 0 and 1.
    codebook: [L,K] of +-1.
    tie_breaker: [K] of +-1.

  Returns:
    [B,K] of +-1, of the type of `labels`.
  """
  votes = similarity.inner_product(
    labels, jnp.asarray(codebook.T, labels.dtype)
  )
  ties = jnp.asarray(tie_breaker, labels.dtype)[None, :]
  return jnp.where(votes == 0, ties, jnp.sign(votes))


def _minimum_distance(codebook: np.ndarray) -> int:
  """Return the smallest Hamming distance between two rows of +-1."""
  num_bits = codebook.shape[1]
  distance = (num_bits - codebook @ codebook.T) // 2
  np.fill_diagonal(distance, num_bits)
  return int(distance.min())
