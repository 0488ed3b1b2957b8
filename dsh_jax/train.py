"""A run from beginning to end, in order.

data -> network, method, optimizer -> steps, with validations and checkpoints ->
codes of the test queries and the database -> scores.
"""

import dataclasses
import sys
import time
from concurrent import futures
from typing import Any

import jax
import ml_collections
import numpy as np

from dsh_jax import data, errors, parallel, steps
from dsh_jax.config import factories, fields
from dsh_jax.data import overview
from dsh_jax.runs import (
  baselines,
  checkpoint,
  choice,
  diagnostics,
  feed,
  fingerprints,
  frozen,
  hosts,
  interrupts,
  logs,
  programs,
  result,
  schedule,
  scoring,
  speed,
  step_metrics,
  step_report,
  trace,
  workdir,
)


@dataclasses.dataclass(frozen=True)
class Parts:
  """The parts of a run, made from its configuration.

  Attributes:
    config: The configuration.
    mesh: The devices.
    splits: Images or features, with labels.
    programs: The compiled functions.
    state: The initial state, host arrays.
    scorer: Scores weights.
    diagnostics: Describes codes.
    steps_per_epoch: Whole batches of the training split.
    num_steps: Steps of the whole training.
  """

  config: ml_collections.ConfigDict
  mesh: parallel.DeviceMesh
  splits: data.Splits
  programs: programs.Programs
  state: steps.TrainState
  scorer: scoring.Scorer
  diagnostics: diagnostics.Diagnostics
  steps_per_epoch: int
  num_steps: int


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
    parts = _prepare(config, mesh, splits)
    all_hosts.assert_equal(lambda: fingerprints.of_start(splits, parts.state))
    with run.claimed(config):
      run.write_json("data.json", summary)
      if backbone:
        frozen.write(run, backbone)
      with checkpoint.Checkpoints(
        directory, read_only=all_hosts.index > 0
      ) as saved:
        weights, metadata = _train(parts, run, saved, signals, all_hosts)
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
  _, num_steps = _count_steps(config, splits)
  if config.profile and config.profile[1] > num_steps:
    raise errors.UserError(
      f"config.profile is {tuple(config.profile)}; the run has"
      f" {num_steps} steps. Give steps of the run."
    )


def _count_steps(config, splits):
  """Return the steps of an epoch, and of the whole training."""
  steps_per_epoch = len(splits.train) // config.train.batch_size
  return steps_per_epoch, steps_per_epoch * config.train.num_epochs


def _prepare(config, mesh, splits) -> Parts:
  train, features = splits.train, None
  if factories.takes_vectors(config):
    features = train.take(np.arange(len(train)))
  steps_per_epoch, num_steps = _count_steps(config, splits)
  compiled = programs.load(config, mesh, splits.num_classes, num_steps)
  return Parts(
    config=config,
    mesh=mesh,
    splits=splits,
    programs=compiled,
    state=factories.create_state(
      config, compiled.network, compiled.method, compiled.tx, features
    ),
    scorer=scoring.Scorer(config, splits, compiled.encoder),
    diagnostics=diagnostics.Diagnostics(compiled, mesh, splits),
    steps_per_epoch=steps_per_epoch,
    num_steps=num_steps,
  )


def _train(
  parts: Parts,
  run: workdir.Workdir,
  saved: checkpoint.Checkpoints,
  signals: interrupts.Interrupts,
  all_hosts: hosts.Hosts,
) -> tuple[Any, dict[str, Any]]:
  """Return the weights of the selected epoch, host arrays, and metadata."""
  config, mesh = parts.config, parts.mesh
  validated_at, saved_at = schedule.stops(
    config.train, parts.steps_per_epoch, parts.num_steps
  )
  state, best, metadata = _restore(parts, run, saved, all_hosts)
  step = int(state.step)
  metrics = step_metrics.StepMetrics(
    mesh, int(state.num_skipped), config.train.log_every_steps
  )
  state = mesh.replicate(state)
  train_steps = parts.programs.train_steps
  numbers = mesh.replicate(programs.numbers(config))
  clock = speed.create(
    parts.programs.network, parts.state, mesh, _input_shape(parts)
  )
  log = logs.Log(
    run.path,
    start=step,
    total=parts.num_steps,
    images_per_step=config.train.batch_size,
    unit="items" if factories.takes_vectors(config) else "images",
    tensorboard=config.tensorboard,
    enabled=all_hosts.index == 0,
    recorded=metadata.get("log"),
  )
  report = step_report.StepReport(
    config, parts.splits.train, metrics, log, clock
  )
  profile = config.profile if all_hosts.index == 0 else ()
  tracing = trace.Trace(str(run.path / "profile"), profile)
  groups = schedule.groups(
    step,
    saved_at,
    config.train.steps_per_dispatch
    or schedule.even_part(parts.steps_per_epoch),
  )

  def save(stopping, wait):
    """Validate if due, and save; raise Stopped after a signal."""
    nonlocal best
    host_state = mesh.fetch(state)
    metadata["num_skipped_steps"] = int(host_state.num_skipped)
    metadata["is_validated"] = step not in validated_at
    if not (stopping or metadata["is_validated"]):
      try:
        if _validate(parts, state, step, log, metadata, signals.check):
          best = _weights(host_state)
        metadata["is_validated"] = True
      except interrupts.StopRequested:
        stopping = True  # The next run validates this step.
    run.assert_ours()
    metadata["log"] = log.record()
    saved.save(step, {"state": host_state, "best": best}, metadata)
    if wait:  # After this, a host that ends may end the host that writes.
      saved.wait()
      all_hosts.exchange(None)
    if stopping or signals.requested():
      saved.wait()
      all_hosts.part()
      raise signals.stopped(step)

  with log, tracing, signals.deferred():
    if not metadata["is_validated"]:
      save(stopping=False, wait=True)
    started = time.monotonic()
    for group, batch in feed.read(config, mesh, parts.splits.train, groups):
      before = metrics.last
      with tracing.around(group):
        state, outcome = train_steps(state, *batch, numbers)
      tracing.after(group, outcome)
      # At most two groups are under way. A line is read while the next group
      # runs, so that the device never waits for the log.
      jax.block_until_ready(before)
      report.write()
      saved.check()
      metrics.add(group, outcome)
      log.progress(step)
      step = group[1]
      if not (stopping := signals.requested()) and step not in saved_at:
        if before is None:  # The group that compiled is not timed.
          jax.block_until_ready(outcome)
          clock.start(step)
        continue
      metrics.prepare()
      report.write()
      log.progress(step)
      num_timed, secs = clock.stop(step)
      metadata["timed_steps"] += num_timed
      metadata["timed_secs"] += secs
      metadata["training_secs"] += time.monotonic() - started
      save(stopping, wait=step == parts.num_steps)
      started = time.monotonic()
      clock.start(step)
  metadata["perf"] = clock.summary(
    metadata["timed_steps"], metadata["timed_secs"]
  )
  metadata["selected_epoch"] = (
    metadata["selected_step"] // parts.steps_per_epoch
  )
  return (best["params"], best["batch_stats"]), metadata


def _input_shape(parts):
  """Return the shape of the batch that the network sees."""
  shape = parts.splits.train.images.shape[1:]
  if not factories.takes_vectors(parts.config):
    size = parts.config.data.crop_size or shape[0]
    shape = (size, size, 3)
  return (parts.config.train.batch_size, *shape)


def _restore(parts, run, saved, all_hosts):
  """Return the state, the best weights and the metadata to continue from."""
  made_of = fingerprints.of_run(fields.flatten(parts.config), parts.splits)
  metadata = {
    "made_of": made_of,
    "selected_step": 0,
    "score": -1.0,
    "validation": {},
    "diagnostics": {},
    "num_skipped_steps": 0,
    "is_validated": True,
    "training_secs": 0.0,
    "timed_steps": 0,
    "timed_secs": 0.0,
  }
  initial = {"state": parts.state, "best": _weights(parts.state)}
  restored = saved.restore(
    initial,
    all_hosts.exchange,
    lambda recorded: fingerprints.check_run(
      recorded.get("made_of"), made_of, run.path
    ),
  )
  tree, recorded = restored or (initial, {})
  return tree["state"], tree["best"], metadata | recorded | {"made_of": made_of}


def _validate(parts, state, step, log, metadata, check) -> bool:
  """Score the weights, log it, and return whether they are the best so far."""
  weights = state.params, state.batch_stats
  scores = parts.scorer.validate(weights, check)
  described = parts.diagnostics(weights, step)
  log.scalars(step, step / parts.steps_per_epoch, scores | described)
  if warning := parts.diagnostics.warning(described):
    log.say(warning)
  score = next(iter(scores.values()), metadata["score"])
  is_best = parts.config.eval.select == "last" or score > metadata["score"]
  if is_best:
    metadata |= {
      "selected_step": step,
      "score": score,
      "validation": scores,
      "diagnostics": described,
    }
  return is_best


def _weights(state):
  return {"params": state.params, "batch_stats": state.batch_stats}
