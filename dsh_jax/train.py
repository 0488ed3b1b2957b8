"""A run from beginning to end, in order.

data -> network, method, optimizer -> steps, with validations and checkpoints ->
codes of the test queries and the database -> scores.
"""

import sys
from concurrent import futures
from typing import Any

import ml_collections
import numpy as np

from dsh_jax import data, errors, parallel
from dsh_jax.config import factories, fields
from dsh_jax.data import overview
from dsh_jax.runs import (
  baselines,
  checkpoint,
  choice,
  fingerprints,
  frozen,
  hosts,
  interrupts,
  loop,
  result,
  schedule,
  workdir,
)


def train_and_evaluate(
  config: ml_collections.ConfigDict, directory: str
) -> dict[str, Any]:
  """Train, select an epoch and score the test queries.

  An interrupted run continues, to the same result as an undisturbed one. A
  finished run returns its result at once.

  Args:
    config: As in configs/default.py.
    directory: The folder of the run.

  Returns:
    The contents of result.json.

  Raises:
    UserError: The configuration, the data or the folder must be changed.
    NonFiniteError: The loss, a gradient or a running statistic is not finite,
      and config.train.on_nonfinite is "stop".
    StorageError: A file cannot be written.
    Stopped: SIGTERM or SIGINT arrived.
  """
  all_hosts = hosts.Hosts()
  signals = interrupts.Interrupts(all_hosts)
  with all_hosts.together(), signals.handled():
    mesh = parallel.DeviceMesh(config.parallel)
    fields.validate(config, mesh.num_devices)
    config = factories.with_preprocessing(config)
    run = workdir.Workdir(directory, writes=all_hosts.index == 0)
    config = choice.remembered(config, run)
    run.check(config)
    finished = run.read_json("result.json")
    all_hosts.assert_equal(
      lambda: (
        fingerprints.of_config(config)
        | {"result.json of --workdir": "present" if finished else "absent"}
      )
    )
    if finished is not None:
      if all_hosts.index == 0:
        fingerprints.check_source(finished, config, run.path)
      return finished
    run.assert_shared(all_hosts)
    splits = _load(config)
    made_from = fingerprints.of_source(config, splits)
    summary = overview.describe(splits)
    if all_hosts.index == 0:
      print(overview.text(summary), file=sys.stderr, flush=True)
    _check_sizes(config, splits)
    advice = mesh.advice(config.train.batch_size)
    if advice and all_hosts.index == 0:
      print(advice, file=sys.stderr, flush=True)
    backbone, cost = {}, {}
    if config.model.frozen:
      splits, backbone, cost = frozen.with_features(config, splits)
    if config.method == fields.AUTO:
      best = choice.resolve(config, splits, run).method
      # Hosts may differ in the last bits of a score: host 0 decides.
      config = choice.with_method(config, all_hosts.exchange(best)[0])
    parts = loop.prepare(config, mesh, splits)
    all_hosts.assert_equal(lambda: fingerprints.of_start(splits, parts.state))
    with run.claimed(config):
      run.write_json("data.json", summary)
      if backbone:
        frozen.write(run, backbone)
      with checkpoint.Checkpoints(
        directory, read_only=all_hosts.index > 0
      ) as saved:
        weights, metadata = loop.train(parts, run, saved, signals, all_hosts)
        scores, arrays = parts.scorer.test(mesh.replicate(weights))
      contents = result.create_result(config, splits, metadata, scores)
      contents["data"] = made_from
      contents["data_warnings"] = summary["warnings"]
      contents["encoder_sha256"] = fingerprints.of_encoder(
        fields.flatten(config), weights, frozen.flatten(backbone)
      )
      if factories.takes_vectors(config):
        contents["choice"] = choice.ranking(run)
        contents["seconds"] |= choice.seconds(run)
      if cost:
        contents["seconds"]["features"] = cost["secs"]
        contents["features_per_sec"] = cost["images"] / max(cost["secs"], 1e-9)
      if all_hosts.index == 0:
        contents["baselines"] = baselines.evaluate(
          splits, config.bits, config.seed
        )
      arrays["encoder_sha256"] = np.asarray(contents["encoder_sha256"])
      run.write_arrays("codes.npz", arrays)
      contents["files"] = run.digests(
        "config.json", "codes.npz", "metrics.jsonl"
      )
      run.write_json("result.json", contents)
      # Host 0 alone made the comparisons.
      contents = all_hosts.exchange(contents)[0]
  return contents


def _load(config) -> data.Splits:
  if config.method == fields.AUTO and not factories.takes_vectors(config):
    raise errors.UserError(
      "method=auto needs features: set config.data.name to 'features' or"
      " config.model.frozen to True, or name a method in config.method."
    )
  data.check_names(config.data.name, config.data.protocol, config.data.resize)
  with futures.ThreadPoolExecutor(1) as pool:
    # Meanwhile, a separate process trains the weights of digits.
    weights = pool.submit(factories.weights_source, config)
    splits = factories.load_splits(config)
    weights.result()
  return splits


def _check_sizes(config, splits):
  """Raise UserError unless there are enough items for the configuration."""
  if config.train.batch_size > len(splits.train):
    raise errors.UserError(
      f"config.train.batch_size is {config.train.batch_size}; it must be at"
      f" most the number of training images, {len(splits.train)}."
    )
  if config.eval.select == "validation" and not len(splits.validation):
    raise errors.no_validation("The validation split is empty")
  _, num_steps = schedule.count_steps(config.train, len(splits.train))
  if config.profile and config.profile[1] > num_steps:
    raise errors.UserError(
      f"config.profile is {tuple(config.profile)}; the run has"
      f" {num_steps} steps. Give steps of the run."
    )
