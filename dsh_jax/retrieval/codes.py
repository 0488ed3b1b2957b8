"""Hash codes as packed words: K bits in ceil(K/32) unsigned integers."""

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike

from dsh_jax import MAX_BITS, errors

WORD_BITS = 32


def num_words(num_bits: int) -> int:
  """Return ceil(num_bits / 32), the number of words of a code."""
  return -(-num_bits // WORD_BITS)


def pack_bits(bits: np.ndarray) -> np.ndarray:
  """Pack bool [N, M], M >= 1, into uint32 [N, ceil(M/32)].

  Bit j of a row is bit j % 32 of word j // 32; unused high bits are zero.
  """
  num_rows, width = bits.shape
  packed = np.zeros((num_rows, num_words(width) * 4), np.uint8)
  packed[:, : -(-width // 8)] = np.packbits(bits, axis=1, bitorder="little")
  return packed.view("<u4").astype(np.uint32, copy=False)


def pack(relaxed: ArrayLike) -> np.ndarray:
  """Binarise relaxed codes and pack them.

  Args:
    relaxed: [N, K] real or boolean, N >= 0, 1 <= K <= 256: logits, tanh
      outputs, -1/+1 or 0/1. A bit is set where the value is above zero.

  Returns:
    uint32 [N, ceil(K/32)].

  Raises:
    UserError: Wrong shape or type, or NaN.
  """
  relaxed = np.asarray(relaxed)
  if relaxed.ndim != 2:
    raise errors.UserError(
      f"Codes have shape {relaxed.shape}; give [items, bits]."
    )
  if not 1 <= relaxed.shape[1] <= MAX_BITS:
    raise errors.UserError(
      f"Codes have {relaxed.shape[1]} bits (shape {relaxed.shape}); allowed:"
      f" 1 to {MAX_BITS}. Change config.bits or transpose the codes."
    )
  if np.iscomplexobj(relaxed):
    raise errors.UserError("Codes are complex; give real numbers.")
  try:
    # Some types warn when they compare NaN, which is checked below.
    with np.errstate(invalid="ignore"):
      bits = relaxed > 0
      is_nan = relaxed != relaxed
  except TypeError as error:
    raise errors.UserError(
      f"Codes of type {relaxed.dtype} cannot be binarised; give numbers."
    ) from error
  # `NaN > 0` would silently give a zero bit.
  check_numbers(np.any(is_nan, axis=1))
  return pack_bits(bits)


def pack_traced(relaxed: jax.Array) -> tuple[jax.Array, jax.Array]:
  """Binarise and pack inside a compiled function.

  Args:
    relaxed: float [N,K], 1 <= K <= 256.

  Returns:
    packed: uint32 [N,ceil(K/32)], equal to `pack`; NaN gives a zero bit.
    has_nan: bool [N], for `check_numbers`.
  """
  num_bits = relaxed.shape[1]
  words = num_words(num_bits)
  bits = (relaxed > 0).astype(jnp.uint32)
  bits = jnp.pad(bits, ((0, 0), (0, words * WORD_BITS - num_bits)))
  bits = bits.reshape(-1, words, WORD_BITS)
  shifts = jnp.arange(WORD_BITS, dtype=jnp.uint32)[None, None, :]
  packed = (bits << shifts).sum(axis=2, dtype=jnp.uint32)
  return packed, jnp.any(jnp.isnan(relaxed), axis=1)


def check_numbers(has_nan: np.ndarray) -> None:
  """Raise a UserError if any item has NaN, bool [N]."""
  if np.any(has_nan):
    raise errors.UserError(
      f"Codes hold NaN in {int(np.sum(has_nan))} of {len(has_nan)} items; all"
      " values must be numbers. Check the network that made them."
    )


def unpack(packed: np.ndarray, num_bits: int) -> np.ndarray:
  """Unpack words uint32 [N, ceil(K/32)] into bits bool [N, K]."""
  packed = check(packed, num_bits, "codes")
  as_bytes = np.ascontiguousarray(packed.astype("<u4", copy=False)).view(
    np.uint8
  )
  bits = np.unpackbits(as_bytes, axis=1, count=num_bits, bitorder="little")
  return bits.astype(bool)


def check(packed: ArrayLike, num_bits: int, name: str) -> np.ndarray:
  """Return packed codes as a NumPy array if they have `num_bits` bits.

  Args:
    packed: uint32 [N, ceil(K/32)]; unused bits must be zero.
    num_bits: K, 1 to 256.
    name: Name of the codes in error messages, such as "query codes".
  """
  packed = np.asarray(packed)
  if not 1 <= num_bits <= MAX_BITS:
    raise errors.UserError(f"num_bits is {num_bits}; allowed: 1 to {MAX_BITS}.")
  if packed.ndim != 2 or packed.dtype != np.uint32:
    raise errors.UserError(
      f"The {name} are {packed.dtype} of shape {packed.shape}; give packed"
      " uint32 [items, words], as codes.pack makes them."
    )
  words = num_words(num_bits)
  if packed.shape[1] != words:
    raise errors.UserError(
      f"The {name} have {packed.shape[1]} words an item, but num_bits"
      f" {num_bits} needs {words}. Change num_bits or the codes."
    )
  unused = words * WORD_BITS - num_bits
  if unused and packed.size and int(packed[:, -1].max()) >> (32 - unused):
    raise errors.UserError(
      f"The {name} have bits set beyond num_bits {num_bits}; unused bits must"
      " be zero. Change num_bits."
    )
  return packed
