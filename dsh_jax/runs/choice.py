"""Chooses the method of method=auto by its score on validation queries."""

import time
from collections.abc import Callable
from concurrent import futures
from typing import Any

import jax
import ml_collections
import numpy as np

from dsh_jax import data, errors
from dsh_jax.config import config_files, fields
from dsh_jax.data import progress
from dsh_jax.retrieval import evaluation, histogram
from dsh_jax.runs import changes, sweep, workdir

_FILE = "choice.json"
_BLOCK = 500  # Queries of one histogram.


def candidates(config: ml_collections.ConfigDict) -> tuple[str, ...]:
  """Return the names of the methods to try.

  Raises:
    UserError: config.choice.methods names an unknown method, or one that sets
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
  """Return the configuration with the best method.

  Trains a head per method, all with the same settings, and scores it on the
  validation queries by config.eval.select_metric. The folder of the run keeps
  finished methods, so that a killed call continues.

  Args:
    config: With method "auto".
    splits: Of features.
    run: The folder.

  Raises:
    UserError: There are no validation queries, or as `candidates`.
    NonFiniteError: Every method diverged.
  """
  if not len(splits.validation):
    raise errors.UserError(
      "method=auto chooses by validation queries, and there are none. Change"
      " config.data.num_validation."
    )
  names = candidates(config)
  run.make_folder()
  previous = _previous(config, run)
  started = time.monotonic() - previous.get("secs", 0.0)
  scored = {row["method"]: row for row in previous.get("ranking", [])}
  missing = [name for name in names if name not in scored]
  devices = jax.local_devices()

  def rank():
    rows = [scored[name] for name in names if name in scored]
    return sorted(rows, key=lambda row: -row["score"])

  def write(**chosen):
    secs = time.monotonic() - started
    settings = _settings(config)
    run.write_json(
      _FILE, {"ranking": rank(), **chosen, "secs": secs, "config": settings}
    )

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
        scored[task.result()["method"]] = task.result()
        write()
        update(1)
    finally:
      pool.shutdown(cancel_futures=True)
  rows = rank()
  if rows[0]["score"] < 0:
    raise errors.NonFiniteError(
      "Every method diverged. Lower config.optimizer.learning_rate."
    )
  chosen = rows[0]["method"]
  write(chosen=chosen)
  return with_method(config, chosen)


def remembered(
  config: ml_collections.ConfigDict, run: workdir.Workdir
) -> ml_collections.ConfigDict:
  """Return the configuration with the method that an earlier call chose.

  Args:
    config: As in configs/default.py; unless its method is "auto", it is
      returned as it is.
    run: The folder.
  """
  if config.method != fields.AUTO:
    return config
  previous = _previous(config, run)
  if "chosen" not in previous:
    return config
  return with_method(config, previous["chosen"])


def _previous(config, run) -> dict[str, Any]:
  """Return choice.json if it belongs to this configuration, else {}."""
  previous = run.read_json(_FILE) or {}
  return previous if previous.get("config") == _settings(config) else {}


def _settings(config) -> dict[str, Any]:
  return {
    name: value
    for name, value in fields.flatten(config).items()
    if name not in changes.WITHOUT_EFFECT
  }


def ranking(run: workdir.Workdir) -> list[dict[str, Any]]:
  """Return the methods tried, best first.

  Each has method, score, half_width (of the 95 % interval over queries, seeds
  averaged), num_seeds and secs.
  """
  return (run.read_json(_FILE) or {}).get("ranking", [])


def seconds(run: workdir.Workdir) -> dict[str, float]:
  """Return "choice" -> seconds that it took, over all calls; {} without one."""
  choice = run.read_json(_FILE) or {}
  return {"choice": choice["secs"]} if "secs" in choice else {}


def with_method(
  config: ml_collections.ConfigDict, name: str
) -> ml_collections.ConfigDict:
  """Return a configuration with the preset of a method applied."""
  config = config.copy_and_resolve_references()
  with config.unlocked():  # Drops the settings of another loss.
    config.loss = ml_collections.ConfigDict({"name": ""})
  return fields.build(config, config_files.presets(), f"method={name}")


def _score(config, name, splits, device) -> dict[str, Any]:
  """Train a method and score it on the validation queries."""
  started = time.monotonic()
  seeds = range(config.seed, config.seed + config.choice.num_seeds)
  chosen = with_method(config, name)
  try:
    encode = sweep.train(chosen, splits, seeds, device)
    scores = score_validation(chosen, encode, splits).mean(axis=0)
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


def score_validation(
  config: ml_collections.ConfigDict,
  encode: Callable[[data.Split], np.ndarray],
  splits: data.Splits,
) -> np.ndarray:
  """Return the score of every validation query, float64 [seeds,Q].

  Args:
    config: As in configs/default.py; its eval.select_metric is the score.
    encode: From `sweep.train`.
    splits: The training items are the database.
  """
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
  return np.stack(scores)
