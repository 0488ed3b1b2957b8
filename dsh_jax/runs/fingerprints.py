"""Fingerprints of configurations, data and weights, to compare them."""

import hashlib
import logging
import pathlib
import sys
from collections.abc import Mapping
from typing import Any

import ml_collections
import numpy as np

from dsh_jax import data, errors, files, steps
from dsh_jax.config import factories, fields
from dsh_jax.runs import changes, checkpoint, result

_PACKAGE = pathlib.Path(__file__).parents[1]


def of_config(config: ml_collections.ConfigDict) -> dict[str, Any]:
  """Return all fields with an effect, versions, and a digest of the code."""
  sha = hashlib.sha256()
  for path in sorted(_PACKAGE.rglob("*.py")):
    sha.update(path.read_bytes())
  versions = result.versions().items()
  return {
    f"config.{name}": value
    for name, value in fields.flatten(config).items()
    if name not in changes.WITHOUT_EFFECT
  } | {
    **{f"the version of {name}": version for name, version in versions},
    "the SHA-256 of the code of dsh_jax": sha.hexdigest(),
  }


def of_data(splits: data.Splits) -> dict[str, Any]:
  """Return digests of ids, labels and pixels, and the shape of an image."""
  return {
    f"the SHA-256 of the {name} images": sha
    for name, sha in splits.sha256.items()
  } | {
    "the SHA-256 of the pixels": splits.content_sha256,
    "the shape of an image": list(splits.train.images.shape[1:]),
    "the names of the labels": files.sha256_of_json(splits.class_names),
  }


def of_start(splits: data.Splits, state: steps.TrainState) -> dict[str, Any]:
  """Return digests of the data and of the initial weights, host arrays."""
  return of_data(splits) | {
    "the SHA-256 of the initial weights": checkpoint.digest(state)
  }


def of_run(
  config: Mapping[str, Any], splits: data.Splits
) -> dict[str, dict[str, Any]]:
  """Return what a checkpoint records, for `check_run`.

  Args:
    config: Dotted field -> value.
    splits: The data.
  """
  return {"config": dict(config), "data": of_data(splits)}


def check_run(
  recorded: Mapping[str, Any] | None, current: Mapping[str, Any], path: Any
) -> None:
  """Check that a checkpoint belongs to this configuration and data.

  Args:
    recorded: `of_run` from the checkpoint; None in version 0.1, accepted with
      a warning.
    current: `of_run` of this run; without "data", only the configuration is
      compared.
    path: The folder of the run.

  Raises:
    UserError: They differ.
  """
  if recorded is None:
    logging.warning(
      "The checkpoints of %s come from version 0.1 and record neither"
      " configuration nor data: not compared.",
      path,
    )
    return
  if different := changes.describe(recorded["config"], current["config"]):
    raise errors.UserError(
      f"The weights of --workdir={path} were trained with another"
      f" configuration: {different}. Restore its config.json from a copy, or"
      " give another --workdir."
    )
  before = recorded["data"]
  _check_data(before, current.get("data", before), path)


def of_source(
  config: ml_collections.ConfigDict, splits: data.Splits
) -> dict[str, Any]:
  """Return what result.json records of the data, for `check_source`.

  Args:
    config: As in configs/default.py.
    splits: As `factories.load_splits` returns them.
  """
  return {"source": factories.data_source(config), **of_data(splits)}


def check_source(
  result: Mapping[str, Any], config: ml_collections.ConfigDict, path: Any
) -> None:
  """Check that the data are still those of a finished run.

  They are read only if their source has changed, such as the time of a file.
  If they are gone, a line says that nothing was compared.

  Args:
    result: The contents of result.json; without "data", as in version 0.1,
      nothing is compared.
    config: As in configs/default.py.
    path: The folder of the run.

  Raises:
    UserError: They differ.
  """
  if not (recorded := dict(result.get("data", {}))):
    return
  try:
    if factories.data_source(config) == recorded.pop("source"):
      return
    found = of_data(factories.load_splits(config))
  except errors.UserError as error:
    print(
      f"The data cannot be read, so they were not compared with those of"
      f" --workdir={path}: {error}",
      file=sys.stderr,
      flush=True,
    )
    return
  _check_data(recorded, found, path)


def _check_data(before, now, path):
  if names := [n for n, value in now.items() if before.get(n) != value]:
    raise errors.UserError(
      f"--workdir={path} was trained on other data, which differ in"
      f" {', '.join(names)}. Give the same data, or another --workdir."
    )


def of_encoder(
  config: Mapping[str, Any],
  weights: tuple[Any, Any],
  backbone: Mapping[str, np.ndarray],
) -> str:
  """Return a SHA-256 that is equal for runs that encode alike.

  Args:
    config: Dotted field -> value.
    weights: (params, batch_stats) of the selected epoch, host arrays.
    backbone: Arrays of a frozen backbone, by path; {} without one.
  """
  settings = {
    name: value
    for name, value in config.items()
    if name not in changes.WITHOUT_EFFECT
  }
  arrays = {"weights": weights, "backbone": dict(backbone)}
  return files.sha256_of_json([settings, checkpoint.digest(arrays)])
