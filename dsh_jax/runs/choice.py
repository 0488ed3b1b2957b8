"""method=auto: which method suits these features, by validation queries."""

import time
from concurrent import futures
from typing import Any

import jax
import ml_collections
import numpy as np

from dsh_jax import data, errors
from dsh_jax.config import config_files, fields
from dsh_jax.data import progress
from dsh_jax.retrieval import evaluation, histogram
from dsh_jax.runs import sweep, workdir

_FILE = "choice.json"
_BLOCK = 500  # Queries whose histogram is held.


def candidates(config: ml_collections.ConfigDict) -> tuple[str, ...]:
  """Return the presets that are tried.

  Raises:
    UserError: config.choice.methods names one that does not exist, or changes
      more than loss and head.
  """
  known = tuple(
    name
    for name, preset in config_files.presets().items()
    if _sets_head_alone(preset)
  )
  for name in config.choice.methods:
    if name not in known:
      raise errors.unknown("method", name, known, "config.choice.methods")
  return tuple(config.choice.methods) or known


def _sets_head_alone(preset) -> bool:
  model = preset.get("model", {})
  return set(preset) <= {"loss", "model", "source"} and all(
    name.startswith("head_") for name in model
  )


def resolve(
  config: ml_collections.ConfigDict, splits: data.Splits, run: workdir.Workdir
) -> ml_collections.ConfigDict:
  """Return the configuration of the method that suits the features best.

  The head of every method is trained with the same settings and scored on the
  validation queries, which are no test queries, by config.eval.select_metric.
  What is found is kept in the folder of the run, from which a killed call
  continues.

  Args:
    config: With method "auto".
    splits: Of features.
    run: Where the ranking is kept.

  Raises:
    UserError: There are no validation queries, or as `candidates`.
    NonFiniteError: No method gives a finite head.
  """
  if not len(splits.validation):
    raise errors.UserError(
      "method=auto chooses by validation queries, and there are none. Change"
      " config.data.num_validation."
    )
  names = candidates(config)
  run.make_folder()
  held = _held(config, run)
  found = {row["method"]: row for row in held.get("ranking", [])}
  missing = [name for name in names if name not in found]
  devices = jax.local_devices()

  def rank():
    rows = [found[name] for name in names if name in found]
    return sorted(rows, key=lambda row: -row["score"])

  title = f"Trying {len(names)} methods, {config.bits} bits each"
  with (
    futures.ThreadPoolExecutor(len(devices)) as pool,
    progress.bar(title, len(names), "methods") as update,
  ):
    update(len(names) - len(missing))
    tasks = [
      pool.submit(_score, config, name, splits, devices[n % len(devices)])
      for n, name in enumerate(missing)
    ]
    try:
      for task in futures.as_completed(tasks):
        found[task.result()["method"]] = task.result()
        run.write_json(_FILE, {"ranking": rank(), "config": _settings(config)})
        update(1)
    finally:
      pool.shutdown(cancel_futures=True)
  rows = rank()
  if rows[0]["score"] < 0:
    raise errors.NonFiniteError(
      "No method has a finite head. Lower config.optimizer.learning_rate."
    )
  chosen = rows[0]["method"]
  run.write_json(
    _FILE, {"ranking": rows, "chosen": chosen, "config": _settings(config)}
  )
  return with_method(config, chosen)


def remembered(
  config: ml_collections.ConfigDict, run: workdir.Workdir
) -> ml_collections.ConfigDict:
  """Return the configuration with the method that was chosen in a folder.

  Args:
    config: As in configs/default.py; what has a method is returned as it is.
    run: The folder.
  """
  if config.method != fields.AUTO:
    return config
  held = _held(config, run)
  return with_method(config, held["chosen"]) if "chosen" in held else config


def _held(config, run) -> dict[str, Any]:
  """Return what a folder holds of a choice with this configuration."""
  held = run.read_json(_FILE) or {}
  return held if held.get("config") == _settings(config) else {}


def _settings(config) -> dict[str, Any]:
  return {
    name: value
    for name, value in fields.flatten(config).items()
    if name not in workdir.WITHOUT_EFFECT
  }


def ranking(run: workdir.Workdir) -> list[dict[str, Any]]:
  """Return the methods that were tried in a folder, best first.

  Each has method, score, half_width (of the 95 % interval over queries, in
  which seeds are averaged), num_seeds and secs.
  """
  return (run.read_json(_FILE) or {}).get("ranking", [])


def with_method(
  config: ml_collections.ConfigDict, name: str
) -> ml_collections.ConfigDict:
  """Return a configuration with the preset of a method applied."""
  config = config.copy_and_resolve_references()
  with config.unlocked():  # Without settings of another loss.
    config.loss = ml_collections.ConfigDict({"name": ""})
  return fields.build(config, config_files.presets(), f"method={name}")


def _score(config, name, splits, device) -> dict[str, Any]:
  """Train a method and scores it on the validation queries."""
  started = time.monotonic()
  seeds = range(config.seed, config.seed + config.choice.num_seeds)
  chosen = with_method(config, name)
  try:
    encode = sweep.train(chosen, splits, seeds, device)
    scores = _per_query(chosen, encode, splits)
    mean = float(scores.mean())
    half_width = float(1.96 * scores.std() / np.sqrt(len(scores)))
  except errors.NonFiniteError:
    mean, half_width = -1.0, 0.0
  return {
    "method": name,
    "score": mean,
    "half_width": half_width,
    "num_seeds": len(seeds),
    "secs": time.monotonic() - started,
  }


def _per_query(config, encode, splits) -> np.ndarray:
  """Return the score of every validation query, float64, seeds averaged."""
  queries, items = splits.validation, splits.train
  scores = []
  for query_codes, item_codes in zip(
    encode(queries), encode(items), strict=True
  ):
    parts = []
    for first in range(0, len(queries), _BLOCK):
      rows = slice(first, first + _BLOCK)
      hist = histogram.joint_histogram(
        query_codes[rows],
        item_codes,
        queries.labels[rows],
        items.labels,
        config.bits,
      )
      parts.append(
        evaluation.per_query(
          hist,
          config.eval.select_metric,
          normalizer=config.eval.normalizer,
        )
      )
    scores.append(np.concatenate(parts))
  return np.mean(scores, axis=0)
