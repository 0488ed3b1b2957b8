"""Label sets as packed words: an overlap is AND and a bit count."""

import numpy as np
from numpy.typing import ArrayLike

from dsh_jax import errors
from dsh_jax.retrieval import codes


def pack(labels: ArrayLike, name: str = "labels") -> np.ndarray:
  """Pack labels [N, L] of 0 and 1, L >= 1, into uint32 [N, ceil(L/32)].

  Any real or boolean type is allowed. `name` is for error messages.
  """
  labels = np.asarray(labels)
  if labels.ndim != 2 or labels.shape[1] == 0:
    raise errors.UserError(
      f"The {name} have shape {labels.shape}; give 0/1 vectors [items, classes]"
      " (convert class numbers to one-hot first)."
    )
  if labels.dtype != bool:
    wrong = (labels != 0) & (labels != 1)
    if np.any(wrong):
      raise errors.UserError(
        f"The {name} hold {labels[wrong][0]!s}; only 0 and 1 are allowed."
      )
  return codes.pack_bits(labels.astype(bool))


def count(packed: np.ndarray) -> np.ndarray:
  """Count the labels of every item, uint32 [N, words] -> int64 [N]."""
  return np.bitwise_count(packed).sum(axis=1, dtype=np.int64)
