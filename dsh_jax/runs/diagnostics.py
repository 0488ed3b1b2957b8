"""Diagnostics of codes, on a sample of images.

Scores show that codes are bad, these numbers why. From random weights a
network can learn the number of labels and nothing else, as images with many
labels are relevant to most others. The logits of all bits are then multiples of
one number.
"""

from typing import Any

import jax.numpy as jnp
import numpy as np

from dsh_jax import data, losses, parallel
from dsh_jax.runs import programs

MAX_IMAGES = 256
# Logits of a network that learns the number of labels have one direction.
_LOW_RANK = 3.0
_HIGH_CORRELATION = 0.5
_COLLAPSED_RANK = 1.5


class Diagnostics:
  """Describes the codes of a fixed sample of the validation queries.

  Without validation queries, the sample is of the training images.
  """

  def __init__(
    self,
    compiled: programs.Programs,
    mesh: parallel.DeviceMesh,
    splits: data.Splits,
  ):
    """Read the sample; nothing is compiled yet.

    Args:
      compiled: The programs of the run.
      mesh: The devices.
      splits: Train and validation are read.
    """
    split = splits.validation if len(splits.validation) else splits.train
    count = min(len(split), MAX_IMAGES)
    rows = np.arange(count) * len(split) // count
    self._labels = split.labels[rows]
    # Copies of the last image give every device the same number.
    padded = -(-count // mesh.num_devices) * mesh.num_devices
    rows = np.pad(rows, (0, padded - count), mode="edge")
    self._images = split.take(rows[mesh.local_rows(padded)])
    self._directions = min(splits.num_classes, compiled.method.num_outputs)
    self._programs = compiled
    self._mesh = mesh

  def __call__(self, weights: Any, step: int) -> dict[str, float]:
    """Describe the codes that weights give.

    Args:
      weights: (params, batch_stats), on devices.
      step: Steps taken, for activations that depend on them.

    Returns:
      "codes/NAME" -> value from `describe`; {} if logits are not finite.
    """
    images = self._mesh.shard_batch(self._images)
    outputs = self._programs.outputs(weights, images)
    outputs = self._mesh.gather(outputs)[: len(self._labels)]
    if not np.isfinite(outputs).all():
      return {}
    width = self._programs.method.num_outputs
    values = describe(
      outputs[:, :width],
      relaxed(self._programs.method, outputs[:, :width], step),
      outputs[:, width:] > 0,
      self._labels,
    )
    return {f"codes/{name}": value for name, value in values.items()}

  def warning(self, values: dict[str, float]) -> str:
    """Return a warning if the codes of the sample collapse, else ""."""
    same_labels = equal_pairs(self._labels)
    return warning(values, self._directions, same_labels)


def relaxed(method: losses.Method, logits: np.ndarray, step: int) -> np.ndarray:
  """Return the relaxed codes of logits [N,num_outputs] at a step."""
  return np.asarray(method.activation(jnp.asarray(logits), jnp.asarray(step)))


def describe(
  logits: np.ndarray,
  relaxed_codes: np.ndarray,
  bits: np.ndarray,
  labels: np.ndarray,
) -> dict[str, float]:
  """Describe codes.

  Args:
    logits: float [N,F], F being K for most methods; N at least 1.
    relaxed_codes: float [N,F], after the activation.
    bits: bool [N,K].
    labels: [N,L] of 0 and 1.

  Returns:
    bit_imbalance: |share of ones - share of zeros|, mean over bits: 0 for
      balanced bits, 1 for constant ones.
    bit_entropy: Mean over bits, in bits: 1 for balanced ones.
    effective_rank: exp of the entropy of the singular values of the centred
      logits, as shares of their sum (Roy & Vetterli, EUSIPCO 2007): from 1, if
      all logits are multiples of one number, to F; 0 if they are constant.
    label_count_correlation: |Pearson correlation| of the first principal
      component of the logits with the number of labels; 0 if either is
      constant.
    zero_distance_pairs: Share of the pairs of images that share their code.
    quantization_error: Mean of | |h| - 1 |.
  """
  ones = bits.mean(axis=0)
  centred = np.asarray(logits, np.float64)
  centred = centred - centred.mean(axis=0)
  left, scale, _ = np.linalg.svd(centred, full_matrices=False)
  return {
    "bit_imbalance": float(np.abs(2 * ones - 1).mean()),
    "bit_entropy": float(bit_entropy(ones).mean()),
    "effective_rank": _effective_rank(scale),
    "label_count_correlation": _correlation(
      left[:, 0] * scale[0], labels.sum(axis=1, dtype=np.float64)
    ),
    "zero_distance_pairs": equal_pairs(bits),
    "quantization_error": float(
      np.abs(np.abs(np.asarray(relaxed_codes, np.float64)) - 1).mean()
    ),
  }


def bit_entropy(ones: np.ndarray) -> np.ndarray:
  """Return the entropy of bits, in bits, given their shares of ones."""
  shares = np.stack([ones, 1 - ones])
  return -(shares * np.log2(np.maximum(shares, 1e-300))).sum(axis=0)


def equal_pairs(rows: np.ndarray) -> float:
  """Return the share of the pairs of rows [N,...] that are equal."""
  _, counts = np.unique(rows, axis=0, return_counts=True)
  pairs = len(rows) * (len(rows) - 1)
  return float((counts * (counts - 1)).sum() / max(1, pairs))


def warning(
  values: dict[str, float], directions: int, same_labels: float = 0.0
) -> str:
  """Return a warning if codes follow the number of labels or are equal, or "".

  Args:
    values: From `Diagnostics`.
    directions: The smaller of L and F; few labels need few directions.
    same_labels: Share of the pairs of images with the same labels, which may
      share their code.
  """
  if not values:
    return ""
  rank = values["codes/effective_rank"]
  correlation = values["codes/label_count_correlation"]
  equal = values["codes/zero_distance_pairs"]
  is_low = rank < min(_LOW_RANK, directions / 2)
  if is_low and correlation >= _HIGH_CORRELATION:
    return (
      "Codes follow the number of labels: start from pretrained weights"
      f" (effective rank of the logits {rank:.1f}, correlation of their first"
      f" component with the number of labels {correlation:.2f})."
    )
  # Half of the pairs with different labels.
  if equal > (1 + same_labels) / 2 or is_low and rank < _COLLAPSED_RANK:
    return (
      "Codes are nearly equal: lower config.optimizer.learning_rate, or start"
      f" from pretrained weights ({equal:.0%} of the pairs of images share"
      f" their code, effective rank of the logits {rank:.1f})."
    )
  return ""


def _effective_rank(scale):
  total = scale.sum()
  if total < 1e-12:
    return 0.0
  shares = scale / total
  shares = shares[shares > 0]
  return float(np.exp(-(shares * np.log(shares)).sum()))


def _correlation(x, y):
  x, y = x - x.mean(), y - y.mean()
  scale = np.sqrt((x**2).sum() * (y**2).sum())
  return float(abs((x * y).sum()) / scale) if scale > 1e-12 else 0.0
