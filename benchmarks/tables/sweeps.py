"""Runs a table on features in this process, all seeds of a method at once.

The folder of each run has the files that a table reads: config.json, codes.npz,
result.json and cell.json. The last epoch is scored.
"""

import time
from collections.abc import Callable, Sequence
from concurrent import futures

import ml_collections
import numpy as np
from absl import flags
from ml_collections import config_flags

from benchmarks import hardware
from benchmarks.tables import cells, runner
from dsh_jax import errors

_METRICS = ("ndcg@100", "map@all")  # The table scores codes by itself.
_POLL_SECS = 2.0


def run(
  table: cells.Table,
  wanted: Sequence[cells.Cell],
  after_each: Callable[[runner.Job, str, float], None],
  make_job: Callable[[cells.Cell], runner.Job],
) -> None:
  """Run the unfinished ones of some cells.

  Args:
    table: The table.
    wanted: The cells.
    after_each: Called with a cell's job, its state and its seconds.
    make_job: As for `processes.run`; the jobs are not started as processes.

  Raises:
    UserError: The config of the table is not for a sweep.
  """
  from dsh_jax import parallel

  parallel.use_cores(2**20)  # Each method has a core.
  import jax

  devices = jax.local_devices()
  splits = None

  def train(members, device):
    started = time.monotonic()
    jobs = [job for _, job in members]
    try:
      _train(members, splits, device)
    except errors.Error as error:
      for job in jobs:
        job.folder.mkdir(parents=True, exist_ok=True)
        runner.write_json(job.folder / "failed.json", {"error": str(error)})
    return jobs, (time.monotonic() - started) / len(jobs)

  while wanted:
    ready, wanted, ended = _sort(wanted, make_job)
    for job in ended:
      after_each(job, runner.state(job.folder, job.settings), 0.0)
    if not ready:
      if wanted:  # Another shard has not finished the runs they need.
        time.sleep(_POLL_SECS)
      continue
    splits = splits or _load_splits(table)
    with futures.ThreadPoolExecutor(len(devices)) as pool:
      tasks = [
        pool.submit(train, members, devices[number % len(devices)])
        for number, members in enumerate(ready)
      ]
      try:
        for task in futures.as_completed(tasks):
          jobs, secs = task.result()
          for job in jobs:
            after_each(job, runner.state(job.folder, job.settings), secs)
      finally:
        pool.shutdown(cancel_futures=True)


def _sort(wanted, make_job):
  """Sort cells into runnable, waiting and finished ones.

  Returns:
    Lists of (cell, job) that differ only in their seed, to be trained
    together; cells that wait for others; jobs that have ended.
  """
  ready, later, ended = {}, [], []
  for cell in wanted:
    job = make_job(cell)
    if job is None:
      later.append(cell)
    elif job != runner.NOT_NEEDED:
      if runner.state(job.folder, job.settings) == runner.WAITING:
        key = cell.method, cell.bits, cell.variant, cell.learning_rate
        ready.setdefault(key, []).append((cell, job))
      else:
        ended.append(job)
  return list(ready.values()), later, ended


def _load_splits(table):
  from dsh_jax.config import factories
  from dsh_jax.runs import frozen

  config = _config(table.some_settings())
  splits = factories.load_splits(config)
  if config.model.frozen:
    splits, *_ = frozen.with_features(config, splits)
  return splits


def _config(settings: Sequence[str]) -> ml_collections.ConfigDict:
  """Return the config that flags make."""
  from dsh_jax.config import config_files, factories, fields

  config_files.make_importable()
  words = ["", *config_files.find(settings)]
  values = flags.FlagValues()
  # Without `sys_argv` it takes the overrides of this process's command line.
  config_flags.DEFINE_config_file(
    "config", None, "", flag_values=values, sys_argv=words
  )
  values(words)
  config = values.config
  fields.validate(config, num_devices=1)
  if config.eval.select != "last" or not factories.takes_vectors(config):
    raise errors.UserError(
      "config.in_process of the table is for features and the last epoch: set"
      " eval.select=last in config.overrides, and take a config of features or"
      " model.frozen=True."
    )
  return factories.with_preprocessing(config)


def _train(members, splits, device):
  """Train and score cells that differ only in their seed."""
  import jax

  from dsh_jax.config import fields
  from dsh_jax.retrieval import evaluation
  from dsh_jax.runs import choice, sweep, workdir

  started = time.monotonic()
  config = _config(members[0][1].settings)
  seeds = [cell.seed for cell, _ in members]
  encode = sweep.train(config, splits, seeds, device)
  secs = (time.monotonic() - started) / len(members)
  query, database = splits.query, splits.database
  validation = np.full(len(members), np.nan)
  if len(splits.validation):
    validation = choice.score_validation(config, encode, splits).mean(axis=1)
  for (cell, job), score, *packed in zip(
    members, validation, encode(query), encode(database), strict=True
  ):
    scored = time.monotonic()
    report = evaluation.evaluate_codes(
      *packed,
      query.labels,
      database.labels,
      cell.bits,
      names=_METRICS,
      drop_empty=config.eval.drop_empty,
      normalizer=config.eval.normalizer,
    )
    job.folder.mkdir(parents=True, exist_ok=True)
    arrays = {"num_bits": np.asarray(cell.bits)}
    for name, words, split in zip(
      ("query", "database"), packed, (query, database), strict=True
    ):
      arrays[f"{name}_codes"] = words
      arrays[f"{name}_labels"] = split.labels
      arrays[f"{name}_ids"] = split.ids
    np.savez(job.folder / "codes.npz", **arrays)
    folder = workdir.Workdir(str(job.folder))
    folder.write_json(
      "config.json",
      {**fields.flatten(config), "seed": cell.seed},
    )
    runner.write_json(
      job.folder / "cell.json",
      {
        "settings": job.settings,
        "hardware": hardware.describe(),
        "cores": 1,
        "commit": hardware.commit(),
        "seconds": secs + time.monotonic() - scored,
      },
    )
    folder.write_json(
      "result.json",
      {
        "method": cell.method,
        "bits": cell.bits,
        "seed": cell.seed,
        "backbone": config.model.backbone,
        "dataset": config.data.name,
        "protocol": splits.protocol,
        "split_sha256": dict(splits.sha256),
        "train_in_database": splits.train_in_database,
        "select": config.eval.select,
        "validation": {f"validation/{config.eval.select_metric}": float(score)},
        "metrics": report["metrics"],
        "counts": report["counts"],
        "seconds": {"training": secs},
        "device": f"1 x {jax.devices()[0].device_kind}",
      },
    )
