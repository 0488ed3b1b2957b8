"""The training loop: steps, validations, checkpoints and log lines."""

import dataclasses
import time
from typing import Any

import jax
import ml_collections
import numpy as np

from dsh_jax import data, parallel, steps
from dsh_jax.config import factories, fields
from dsh_jax.runs import (
  checkpoint,
  diagnostics,
  feed,
  fingerprints,
  hosts,
  interrupts,
  logs,
  programs,
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


def prepare(
  config: ml_collections.ConfigDict,
  mesh: parallel.DeviceMesh,
  splits: data.Splits,
) -> Parts:
  """Create the parts of a run; they compile on first use."""
  train, features = splits.train, None
  if factories.takes_vectors(config):
    features = train.take(np.arange(len(train)))
  steps_per_epoch, num_steps = schedule.count_steps(config.train, len(train))
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


def train(
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
