"""Writes features with several labels per item, to compare methods.

python -m benchmarks.speed.synthetic_features --out=features.npz

A feature is the sum of the directions of its labels and Gaussian noise.
"""

from collections.abc import Sequence

import numpy as np
from absl import flags

from dsh_jax.apps import command


def create(
  num_items: int = 10_000,
  num_features: int = 512,
  num_classes: int = 20,
  noise: float = 2.5,
) -> dict[str, np.ndarray]:
  """Return the arrays of configs/features.py; about 3 of 20 labels an item.

  `noise` is the deviation of each feature from the sum of directions, whose
  numbers have variance 1.
  """
  rng = np.random.default_rng(0)
  labels = rng.random((num_items, num_classes)) < 0.12
  labels[np.arange(num_items), rng.integers(0, num_classes, num_items)] = True
  directions = rng.standard_normal((num_classes, num_features))
  added = noise * rng.standard_normal((num_items, num_features))
  return {
    "features": (labels @ directions + added).astype(np.float32),
    "labels": labels.astype(np.uint8),
    "ids": np.array([f"item{row}" for row in range(num_items)]),
  }


def _define_flags(values: flags.FlagValues) -> None:
  flags.DEFINE_string(
    "out", None, "The .npz file.", required=True, flag_values=values
  )


def main(argv: Sequence[str]) -> None:
  """Run the command."""
  np.savez(command.parse(argv, _define_flags, __doc__).out, **create())


if __name__ == "__main__":
  command.run(main)
