"""The run, read top to bottom: the only place that knows the order of things.

data -> network, method, optimizer -> steps, with validations and checkpoints ->
codes of the test queries and the database -> scores.
"""

import dataclasses
import sys
import time
from collections.abc import Iterator
from typing import Any

import jax
import ml_collections
import numpy as np

from dsh_jax import data, errors, parallel, steps
from dsh_jax.config import factories, fields
from dsh_jax.data import batches, overview
from dsh_jax.runs import (
  baselines,
  checkpoint,
  choice,
  diagnostics,
  facts,
  flop,
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
  trace,
  workdir,
)


@dataclasses.dataclass(frozen=True)
class Parts:
  """What a run is made of, all from its configuration.

  Attributes:
    config: The configuration.
    mesh: How steps are spread over devices.
    splits: The images, or features.
    programs: What is compiled.
    state: What training begins with, host arrays.
    scorer: Scores weights.
    diagnostics: Describes their codes.
    steps_per_epoch: Whole batches of training images.
    num_steps: Of the whole training.
    backbone: Variables of a frozen backbone, {} without one.
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
  backbone: dict[str, Any]


def train_and_evaluate(
  config: ml_collections.ConfigDict, directory: str
) -> dict[str, Any]:
  """Train, choose an epoch, score the test queries; continue if killed.

  Args:
    config: As in configs/default.py.
    directory: The folder of the run. A run that was interrupted there goes
      on, with the same result as if it never was; a finished one returns its
      result at once.

  Returns:
    The contents of result.json.

  Raises:
    UserError: Something that a person has to change.
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
        facts.of_config(config)
        | {"result.json of --workdir": "present" if finished else "absent"}
      )
    )
    if finished is not None:
      return finished
    run.assert_shared(all_hosts)
    splits, backbone = _load(config)
    if config.method == fields.AUTO:
      chosen = choice.resolve(config, splits, run).method
      # Each host tries them; their last bits may differ, what is kept may not.
      config = choice.with_method(config, all_hosts.exchange(chosen)[0])
    parts = _prepare(config, mesh, splits, backbone)
    all_hosts.assert_equal(lambda: facts.of_start(parts.splits, parts.state))
    about_data = overview.describe(parts.splits)
    with run.claimed(config):
      run.write_json("data.json", about_data)
      if all_hosts.index == 0:
        print(overview.text(about_data), file=sys.stderr, flush=True)
      if parts.backbone:
        frozen.write(run, parts.backbone)
      with checkpoint.Checkpoints(
        directory, read_only=all_hosts.index > 0
      ) as saved:
        weights, metadata = _train(parts, run, saved, signals, all_hosts)
        report, arrays = parts.scorer.test(mesh.replicate(weights))
        saved.wait()
      made = result.create_result(config, parts.splits, metadata, report)
      made["data_warnings"] = about_data["warnings"]
      made["encoder_sha256"] = facts.of_encoder(
        fields.flatten(config), weights, frozen.flatten(parts.backbone)
      )
      if factories.takes_vectors(config):
        made["choice"] = choice.ranking(run)
      made["baselines"] = baselines.evaluate(splits, config.bits, config.seed)
      arrays["encoder_sha256"] = np.asarray(made["encoder_sha256"])
      run.write_arrays("codes.npz", arrays)
      made["files"] = run.digests("config.json", "codes.npz", "metrics.jsonl")
      run.write_json("result.json", made)
  return made


def _load(config) -> tuple[data.Splits, dict[str, Any]]:
  """Return the splits, and the variables of a frozen backbone."""
  if config.method == fields.AUTO and not factories.takes_vectors(config):
    raise errors.UserError(
      "method=auto is for features: take the data set 'features', or"
      " --config.model.frozen=True, or give config.method a name."
    )
  splits, backbone = factories.load_splits(config), {}
  if config.model.frozen:
    splits, backbone = frozen.with_features(config, splits)
  if config.train.batch_size > len(splits.train):
    raise errors.UserError(
      f"config.train.batch_size is {config.train.batch_size}; it must be at"
      f" most the number of training images, {len(splits.train)}."
    )
  if config.eval.select == "validation" and not len(splits.validation):
    raise errors.no_validation("The validation split is empty")
  return splits, backbone


def _prepare(config, mesh, splits, backbone) -> Parts:
  train, features = splits.train, None
  if factories.takes_vectors(config):
    features = train.take(np.arange(len(train)))
  steps_per_epoch = len(train) // config.train.batch_size
  num_steps = steps_per_epoch * config.train.num_epochs
  made = programs.load(config, mesh, splits.num_classes, num_steps)
  return Parts(
    config=config,
    mesh=mesh,
    splits=splits,
    programs=made,
    state=factories.create_state(
      config, made.network, made.method, made.tx, features
    ),
    scorer=scoring.Scorer(config, splits, made.encoder),
    diagnostics=diagnostics.Diagnostics(made, mesh, splits),
    steps_per_epoch=steps_per_epoch,
    num_steps=num_steps,
    backbone=backbone,
  )


def _train(
  parts: Parts,
  run: workdir.Workdir,
  saved: checkpoint.Checkpoints,
  signals: interrupts.Interrupts,
  all_hosts: hosts.Hosts,
) -> tuple[Any, dict[str, Any]]:
  """Return the weights of the chosen epoch, host arrays, and its metadata."""
  config, mesh = parts.config, parts.mesh
  validated_at, saved_at = schedule.stops(
    config.train, parts.steps_per_epoch, parts.num_steps
  )
  state = parts.state
  best = {"params": state.params, "batch_stats": state.batch_stats}
  metadata = {
    "selected_step": 0,
    "score": -1.0,
    "validation": {},
    "diagnostics": {},
    "num_skipped_steps": 0,
    "training_secs": 0.0,
    "timed_steps": 0,
    "timed_secs": 0.0,
  }
  made_of = facts.of_run(fields.flatten(config), parts.splits)
  restored = saved.restore(
    {"state": state, "best": best},
    all_hosts.exchange,
    lambda held: facts.check_run(held.get("made_of"), made_of, run.path),
  )
  if restored is not None:
    tree, metadata = restored[0], metadata | restored[1]
    state, best = tree["state"], tree["best"]
  step = int(state.step)
  metrics = step_metrics.StepMetrics(
    mesh, int(state.num_skipped), config.train.log_every_steps
  )
  state = mesh.replicate(state)
  train_steps = parts.programs.train_steps
  numbers = mesh.replicate(programs.numbers(config))
  clock = _make_clock(parts)
  log = logs.Log(
    run.path,
    start=step,
    total=parts.num_steps,
    images_per_step=config.train.batch_size,
    tensorboard=config.tensorboard,
    enabled=all_hosts.index == 0,
    held=metadata.get("log"),
  )
  profile = config.profile if all_hosts.index == 0 else ()
  tracing = trace.Trace(str(run.path / "profile"), profile)

  started = time.monotonic()
  with log, tracing, signals.deferred():
    for group, batch in _batches(parts, step, saved_at):
      before = metrics.last
      with tracing.around(group):
        state, outcome = train_steps(state, *batch, numbers)
      tracing.after(group, outcome)
      # No more than two groups are under way, and a line is read when the next
      # group is: the device never waits for the log.
      jax.block_until_ready(before)
      _report(parts, log, clock, metrics)
      saved.check()
      metrics.add(group, outcome)
      log.progress(step)
      step = group[1]
      if not (stopping := signals.requested(step)) and step not in saved_at:
        if before is None:  # What was compiled is not timed.
          jax.block_until_ready(outcome)
          clock.start(step)
        continue
      metrics.prepare()
      _report(parts, log, clock, metrics)
      log.progress(step)
      timed = clock.stop(step)
      metadata["timed_steps"] += timed[0]
      metadata["timed_secs"] += timed[1]
      metadata["training_secs"] += time.monotonic() - started
      host_state = mesh.fetch(state)
      metadata["num_skipped_steps"] = int(host_state.num_skipped)
      if step in validated_at:
        weights = state.params, state.batch_stats
        scores = parts.scorer.validate(weights)
        found = parts.diagnostics(weights, step)
        log.scalars(step, step / parts.steps_per_epoch, scores | found)
        if said := diagnostics.warning(found, parts.splits.num_classes):
          log.say(said)
        score = next(iter(scores.values()), metadata["score"])
        if config.eval.select == "last" or score > metadata["score"]:
          metadata |= {
            "selected_step": step,
            "score": score,
            "validation": scores,
            "diagnostics": found,
          }
          best = {
            "params": host_state.params,
            "batch_stats": host_state.batch_stats,
          }
      run.assert_ours()
      metadata |= {"log": log.record(), "made_of": made_of}
      saved.save(step, {"state": host_state, "best": best}, metadata)
      if stopping:
        saved.wait()
        all_hosts.part()
        raise signals.stopped(step)
      started = time.monotonic()
      clock.start(step)
  metadata["selected_epoch"] = (
    metadata["selected_step"] // parts.steps_per_epoch
  )
  return (best["params"], best["batch_stats"]), metadata


def _make_clock(parts):
  batch_size = parts.config.train.batch_size
  peak = flop.peak(jax.devices()[0].device_kind)
  if peak is None:
    return speed.Speed(batch_size)
  if factories.takes_vectors(parts.config):
    shape = parts.splits.train.images.shape[1:]
  else:
    size = parts.config.data.crop_size or parts.config.data.image_size
    shape = (size, size, 3)
  params = {k: v for k, v in parts.state.params.items() if k != "loss"}
  variables = {"params": params, "batch_stats": parts.state.batch_stats}
  per_step = flop.of_step(
    parts.programs.network, variables, (batch_size, *shape)
  )
  return speed.Speed(batch_size, per_step, peak * parts.mesh.num_devices)


def _batches(parts, start, saved_at) -> Iterator[tuple[Any, Any]]:
  """Yield ((first step, last step + 1), arrays on devices of these steps)."""
  train, size = parts.splits.train, parts.config.train.batch_size
  mine = parts.mesh.local_rows(size)
  dispatch = parts.config.train.steps_per_dispatch
  groups = schedule.groups(
    start, saved_at, dispatch or schedule.even_part(parts.steps_per_epoch)
  )

  def make_batch(index):
    rows = [
      batches.batch_indices(parts.config.seed, step, len(train), size)[mine]
      for step in range(*groups[index])
    ]
    images = np.stack([train.take(r) for r in rows])
    labels = np.stack([train.labels[r] for r in rows])
    return groups[index], parts.mesh.shard_batch((images, labels), batch_axis=1)

  return batches.prefetch(
    make_batch, 0, len(groups), parts.config.train.prefetch
  )


def _report(parts, log, clock, metrics):
  """Log what is ready to be read and act on a step that is not finite."""
  train = parts.config.train
  for step, found in metrics.read():
    is_finite, _ = found.pop("is_finite"), found.pop("num_skipped")
    rate = {"learning_rate": found.pop("learning_rate")}
    values = {f"train/{name}": value for name, value in found.items()}
    if not is_finite:
      message = _describe_nonfinite(parts, step, values)
      if train.on_nonfinite == "stop":
        raise errors.NonFiniteError(
          f"{message} The last checkpoint is from before it. Lower"
          " config.optimizer.learning_rate, or leave such steps out with"
          ' config.train.on_nonfinite="skip".'
        )
      log.say(f"{message} It is left out.")
    if (step + 1) % train.log_every_steps == 0:
      epoch = (step + 1) / parts.steps_per_epoch
      log.scalars(step + 1, epoch, values | rate | clock.scalars(step + 1))


def _describe_nonfinite(parts, step, values):
  train = parts.splits.train
  rows = batches.batch_indices(
    parts.config.seed, step, len(train), parts.config.train.batch_size
  )
  if all(np.isfinite(value) for value in values.values()):
    values = values | {"the running statistics of BatchNorm": np.inf}
  found = ", ".join(f"{name} {value:.6g}" for name, value in values.items())
  return (
    f"Step {step + 1} is not finite: {found}. Its images:"
    f" {', '.join(map(str, train.ids[rows]))}."
  )
