"""The run, read top to bottom: the only place that knows the order of things.

data -> network, method, optimizer -> steps, with validations and checkpoints ->
codes of the test queries and the database -> scores.
"""

import dataclasses
import importlib.metadata
import platform
import time
from collections.abc import Iterator
from typing import Any

import jax
import ml_collections
import numpy as np

from dsh_jax import __version__, data, errors, parallel, steps
from dsh_jax.config import factories, fields
from dsh_jax.data import batches
from dsh_jax.runs import (
  checkpoint,
  diagnostics,
  interrupts,
  logs,
  programs,
  scoring,
  workdir,
)


@dataclasses.dataclass(frozen=True)
class Parts:
  """What a run is made of, all from its configuration.

  Attributes:
    config: The configuration.
    mesh: How steps are spread over devices.
    splits: The images.
    programs: What is compiled.
    state: What training begins with, host arrays.
    scorer: Scores weights.
    diagnostics: Describes their codes.
    steps_per_epoch: Whole batches of training images.
    num_steps: Of the whole training.
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
  """Train, chooses an epoch, scores the test queries; continues if killed.

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
  mesh = parallel.DeviceMesh(config.parallel)
  fields.validate(config, mesh.num_devices)
  config = factories.with_preprocessing(config)
  run = workdir.Workdir(directory, writes=jax.process_index() == 0)
  run.check(config)
  if (result := run.read_json("result.json")) is not None:
    return result
  signals = interrupts.Interrupts()
  with signals.handled():
    parts = _prepare(config, mesh)
    with run.claimed(config), checkpoint.Checkpoints(directory) as saved:
      selected, metadata = _train(parts, run, saved, signals)
      report, arrays = parts.scorer.test(selected)
      result = _result(parts, metadata, report)
      run.write_arrays("codes.npz", arrays)
      run.write_json("result.json", result)
  return result


def _prepare(config, mesh) -> Parts:
  splits = factories.load_splits(config)
  if config.train.batch_size > len(splits.train):
    raise errors.UserError(
      f"config.train.batch_size is {config.train.batch_size}; it must be at"
      f" most the number of training images, {len(splits.train)}."
    )
  if config.eval.select == "validation" and not len(splits.validation):
    raise errors.no_validation("The validation split is empty")
  steps_per_epoch = len(splits.train) // config.train.batch_size
  num_steps = steps_per_epoch * config.train.num_epochs
  made = programs.load(config, mesh, splits.num_classes, num_steps)
  return Parts(
    config=config,
    mesh=mesh,
    splits=splits,
    programs=made,
    state=factories.create_state(config, made.network, made.method, made.tx),
    scorer=scoring.Scorer(config, splits, made.encoder),
    diagnostics=diagnostics.Diagnostics(made, mesh, splits),
    steps_per_epoch=steps_per_epoch,
    num_steps=num_steps,
  )


def _train(
  parts: Parts,
  run: workdir.Workdir,
  saved: checkpoint.Checkpoints,
  signals: interrupts.Interrupts,
) -> tuple[Any, dict[str, Any]]:
  """Return the weights of the chosen epoch, on devices, and metadata of it."""
  config, mesh = parts.config, parts.mesh
  batch_size = config.train.batch_size
  validated_at, saved_at = _stops(parts)
  state = parts.state
  best = {"params": state.params, "batch_stats": state.batch_stats}
  metadata = {
    "selected_step": 0,
    "score": -1.0,
    "validation": {},
    "diagnostics": {},
    "num_skipped_steps": 0,
    "training_secs": 0.0,
    "images_per_sec": 0.0,
  }
  if (restored := saved.restore({"state": state, "best": best})) is not None:
    tree, metadata = restored
    state, best = tree["state"], tree["best"]
  step = int(state.step)
  state = mesh.replicate(state)
  train_steps = parts.programs.train_steps
  numbers = mesh.replicate(programs.numbers(config))
  log = logs.Log(
    run.path,
    start=step,
    total=parts.num_steps,
    images_per_step=batch_size,
    tensorboard=config.tensorboard,
    enabled=jax.process_index() == 0,
  )

  waiting = None  # The outcome of a group is read when the next is under way.
  last_stop, started = step, time.monotonic()
  with log, signals.deferred():
    for group, batch in _batches(parts, step, saved_at):
      state, outcome = train_steps(state, *batch, numbers)
      if waiting is not None:
        _report(parts, log, *waiting)
      waiting = group, outcome
      step = group[1]
      if not (stopping := signals.requested(step)) and step not in saved_at:
        continue
      _report(parts, log, *waiting)
      waiting = None
      secs = time.monotonic() - started
      metadata["training_secs"] += secs
      metadata["images_per_sec"] = (step - last_stop) * batch_size / secs
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
      saved.save(step, {"state": host_state, "best": best}, metadata)
      if stopping:
        raise signals.stopped(step)
      last_stop, started = step, time.monotonic()
  metadata["selected_epoch"] = (
    metadata["selected_step"] // parts.steps_per_epoch
  )
  return mesh.replicate((best["params"], best["batch_stats"])), metadata


def _stops(parts) -> tuple[set[int], set[int]]:
  """Return after which steps is validated, and after which is saved."""
  train, every = parts.config.train, parts.steps_per_epoch
  validated = set(
    range(0, parts.num_steps, train.validate_every_epochs * every)
  )
  validated = (validated | {parts.num_steps}) - {0}
  saved = set(validated)
  if train.checkpoint_every_steps:
    saved.update(range(0, parts.num_steps, train.checkpoint_every_steps))
  return validated, saved - {0}


def _batches(parts, start, saved_at) -> Iterator[tuple[Any, Any]]:
  """Yield ((first step, last step + 1), arrays on devices of these steps)."""
  train, size = parts.splits.train, parts.config.train.batch_size
  mine = parts.mesh.local_rows(size)
  groups = _groups(start, saved_at, parts.config.train.steps_per_dispatch)

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


def _groups(start: int, saved_at: set[int], size: int) -> list[tuple[int, int]]:
  """Return (first step, last step + 1) of the groups that one call takes.

  A group never goes past a step that is saved. A run that continues from the
  end of any group has the same groups from there on, and so the same bits.
  """
  groups = []
  for stop in sorted(at for at in saved_at if at > start):
    for first in range(start, stop, size):
      groups.append((first, min(first + size, stop)))
    start = stop
  return groups


def _report(parts, log, group, outcome):
  """Logs the steps of a group and acts on one that is not finite."""
  train = parts.config.train
  outcome = parts.mesh.fetch(outcome)
  for index, step in enumerate(range(*group)):
    values = {f"train/{k}": float(v[index]) for k, v in outcome.items()}
    if not values.pop("train/is_finite"):
      message = _describe_nonfinite(parts, step, values)
      if train.on_nonfinite == "stop":
        raise errors.NonFiniteError(
          f"{message} The last checkpoint is from before it. Lower"
          " config.optimizer.learning_rate, or leave such steps out with"
          ' config.train.on_nonfinite="skip".'
        )
      log.say(f"{message} It is left out.")
    if (step + 1) % train.log_every_steps == 0:
      log.scalars(step + 1, (step + 1) / parts.steps_per_epoch, values)
  log.progress(group[1])


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


def _result(parts, metadata, report) -> dict[str, Any]:
  """Return the contents of result.json."""
  config, splits = parts.config, parts.splits
  libraries = ("jax", "jaxlib", "flax", "optax", "numpy")
  return {
    "method": config.method,
    "bits": config.bits,
    "backbone": config.model.backbone,
    "seed": config.seed,
    "dataset": config.data.name,
    "protocol": splits.protocol,
    "class_names": list(splits.class_names),
    "split_sha256": dict(splits.sha256),
    "train_in_database": splits.train_in_database,
    "data_notes": dict(splits.notes),
    "select": config.eval.select,
    "selected_step": metadata["selected_step"],
    "selected_epoch": metadata["selected_epoch"],
    "num_skipped_steps": metadata["num_skipped_steps"],
    "metrics": report["metrics"],
    "validation": metadata["validation"],
    "diagnostics": {
      name.removeprefix("codes/"): value
      for name, value in metadata["diagnostics"].items()
    },
    "counts": report["counts"],
    "seconds": {
      "training": metadata["training_secs"],
      "encoding": report["encoding_secs"],
      "evaluation": report["evaluation_secs"],
    },
    "images_per_sec": metadata["images_per_sec"],
    "device": f"{parts.mesh.num_devices} x {jax.devices()[0].device_kind}",
    "versions": {
      "python": platform.python_version(),
      "dsh_jax": __version__,
      **{name: importlib.metadata.version(name) for name in libraries},
    },
  }
