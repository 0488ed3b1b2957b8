"""Runs a table on features in this process, all seeds of a method at once.

Of each run its folder has what a run of its own would leave for a table:
config.json, codes.npz, result.json and cell.json. The last epoch is scored.
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


def run(
  table: cells.Table,
  wanted: Sequence[cells.Cell],
  after_each: Callable[[runner.Job, str, float], None],
  make_job: Callable[[cells.Cell], runner.Job],
) -> None:
  """Run those of some cells that are not done.

  Args:
    table: The table; it has no grid of learning rates.
    wanted: The cells.
    after_each: Called with a cell's job, its state and its seconds.
    make_job: Cell -> its job, which is not started here.

  Raises:
    UserError: The table has a grid, or its config is not for a sweep.
  """
  from dsh_jax import parallel

  if table.grid:
    raise errors.UserError(
      "config.in_process of the table is True, and config.grid has learning"
      " rates. Give one in config.overrides."
    )
  parallel.use_cores(2**20)  # Each method has a core.
  import jax

  from dsh_jax.config import factories
  from dsh_jax.runs import frozen

  waiting: dict[tuple, list[cells.Cell]] = {}
  for cell in wanted:
    job = make_job(cell)
    if (state := runner.state(job.folder, job.settings)) == runner.WAITING:
      key = cell.method, cell.bits, cell.variant
      waiting.setdefault(key, []).append(cell)
    else:
      after_each(job, state, 0.0)
  if not waiting:
    return
  config = _config(table.some_settings())
  splits = factories.load_splits(config)
  if config.model.frozen:
    splits, _ = frozen.with_features(config, splits)
  devices = jax.local_devices()

  def train(number, members):
    device, started = devices[number % len(devices)], time.monotonic()
    jobs = [make_job(cell) for cell in members]
    try:
      _train(table, members, jobs, splits, device)
    except errors.Error as error:
      for job in jobs:
        job.folder.mkdir(parents=True, exist_ok=True)
        runner.write_json(job.folder / "failed.json", {"error": str(error)})
    return jobs, (time.monotonic() - started) / len(jobs)

  with futures.ThreadPoolExecutor(len(devices)) as pool:
    tasks = [pool.submit(train, *item) for item in enumerate(waiting.values())]
    try:
      for task in futures.as_completed(tasks):
        jobs, secs = task.result()
        for job in jobs:
          after_each(job, runner.state(job.folder, job.settings), secs)
    finally:
      pool.shutdown(cancel_futures=True)


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


def _train(table, members, jobs, splits, device):
  """Train and scores cells that differ in their seed alone."""
  import jax

  from dsh_jax.config import fields
  from dsh_jax.retrieval import evaluation
  from dsh_jax.runs import sweep, workdir

  started = time.monotonic()
  config = _config(table.settings(members[0]))
  encode = sweep.train(config, splits, [cell.seed for cell in members], device)
  secs = (time.monotonic() - started) / len(members)
  query, database = splits.query, splits.database
  for cell, job, *packed in zip(
    members, jobs, encode(query), encode(database), strict=True
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
        "metrics": report["metrics"],
        "counts": report["counts"],
        "seconds": {"training": secs},
        "device": f"1 x {jax.devices()[0].device_kind}",
      },
    )
