"""What must be the same on all hosts of a run."""

import hashlib
import pathlib
from typing import Any

import ml_collections

from dsh_jax import data, steps
from dsh_jax.config import fields
from dsh_jax.runs import checkpoint, result, workdir

_PACKAGE = pathlib.Path(__file__).parents[1]


def of_config(config: ml_collections.ConfigDict) -> dict[str, Any]:
  """Return the fields that matter, and which code reads them.

  Args:
    config: The configuration.
  """
  sha = hashlib.sha256()
  for path in sorted(_PACKAGE.rglob("*.py")):
    sha.update(path.read_bytes())
  versions = result.versions().items()
  return {
    f"config.{name}": value
    for name, value in fields.flatten(config).items()
    if name not in workdir.WITHOUT_EFFECT
  } | {
    **{f"the version of {name}": version for name, version in versions},
    "the SHA-256 of the code of dsh_jax": sha.hexdigest(),
  }


def of_start(splits: data.Splits, state: steps.TrainState) -> dict[str, str]:
  """Return digests of the images' ids and labels, and of all weights.

  Args:
    splits: The images.
    state: What training begins with, host arrays.
  """
  return {
    f"the SHA-256 of the {name} images": sha
    for name, sha in splits.sha256.items()
  } | {"the SHA-256 of the initial weights": checkpoint.digest(state)}
