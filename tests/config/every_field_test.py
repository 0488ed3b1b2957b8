"""Every config field changes the run or is refused."""

import itertools
import json

import commands
import jax
import numpy as np
import pytest
import traced

from configs import default, digits
from dsh_jax import errors, parallel
from dsh_jax.config import factories, fields, overrides

# These change only paths, time or memory, which other tests check.
RESOURCES = {
  "data.dir",
  "deterministic",
  "eval.batch_size",
  "train.prefetch",
  "train.steps_per_dispatch",
}
# Refused for the embedded data set.
REFUSED = {
  "method": "dsrh",
  "loss.name": "dsrh",
  "data.manual_dir": "x",
  "data.max_missing": 0.5,
  "data.resize": "crop",
  "model.normalization": "l2",
  "model.hidden_layers": (8,),
  "choice.methods": ("csq",),
  "choice.num_seeds": 2,
}

SMALL = {
  "bits": 16,
  "tensorboard": False,
  "data.num_train": 64,
  "data.num_query": 20,
  "data.num_database": 60,
  "data.num_validation": 20,
  "data.image_size": 32,
  "train.batch_size": 16,
  "train.num_epochs": 2,
  "eval.batch_size": 64,
}


def _program(config):
  """Return the train step and the encode step as text, with constants."""
  mesh = parallel.DeviceMesh(config.parallel, jax.devices()[:1])
  step, encode, state, images, labels = traced.make_steps(
    config, axis_name=mesh.axis_name
  )
  axes = {"axis_env": [(mesh.axis_name, 1)]} if mesh.axis_name else {}
  weights = state.params, state.batch_stats
  programs = (
    jax.make_jaxpr(step, **axes)(state, images, labels),
    jax.make_jaxpr(encode, **axes)(weights, images),
  )
  return [
    (str(p), [np.asarray(c).tolist() for c in p.consts]) for p in programs
  ]


def _splits(config):
  """Return the digests of the splits and the shape of an image."""
  splits = factories.load_splits(config)
  return dict(splits.sha256), splits.train.take([0]).shape


def _network(config):
  """Return the trained network as text."""
  method = factories.create_method(config, 10)
  return str(factories.create_network(config, method))


# Path -> value, function that observes it, other fields that it needs.
EFFECTS = {
  "seed": (1, _program, {}),
  "bits": (24, _program, {}),
  "parallel": ("jit", _program, {}),
  "dtype": ("bfloat16", _program, {}),
  "data.seed": (1, _splits, {}),
  "data.labels": ("3", _splits, {}),
  "data.num_train": (80, _splits, {}),
  "data.num_query": (21, _splits, {}),
  "data.num_database": (31, _splits, {}),
  "data.num_validation": (21, _splits, {}),
  "data.image_size": (40, _splits, {}),
  "data.crop_size": (24, _program, {}),
  "data.crop_padding": (2, _program, {}),
  "data.flip": (True, _program, {}),
  "data.mean": ((0.4, 0.5, 0.5), _program, {}),
  "data.std": ((0.2, 0.25, 0.25), _program, {}),
  "model.backbone": ("resnet18", _program, {}),
  "model.feature_layers": (("stage1", "stage2"), _program, {}),
  "model.head_bias": (False, _program, {}),
  "model.head_batch_norm": (True, _program, {}),
  "model.remat": (True, _program, {}),
  "model.sync_batch_norm": (False, _program, {}),
  "model.frozen": (True, _network, {}),
  "train.batch_size": (32, _program, {}),
  "train.num_epochs": (21, _program, {}),
  "train.accumulate": (2, _program, {}),
  "train.on_nonfinite": ("skip", _program, {}),
  "optimizer.name": ("adam", _program, {}),
  "optimizer.learning_rate": (0.1, _program, {}),
  "optimizer.schedule": ("constant", _program, {}),
  "optimizer.halve_every_steps": (7, _program, {"optimizer.schedule": "halve"}),
  "optimizer.drop_at": ((0.3,), _program, {"optimizer.schedule": "drop"}),
  "optimizer.weight_decay": (0.1, _program, {}),
  "optimizer.momentum": (0.5, _program, {"optimizer.name": "sgd"}),
  "optimizer.multipliers": ((("backbone", 0.5),), _program, {}),
}

# Path -> value, seen in the files of a run.
SEEN_IN_FILES = {
  "profile": "(2, 3)",
  "tensorboard": True,
  "train.checkpoint_every_steps": 5,
  "train.log_every_steps": 2,
  "train.validate_every_epochs": 4,
  "eval.save_outputs": True,
}
# Path -> value, seen in its scores.
SEEN_IN_SCORES = {
  "eval.select": "last",
  "eval.drop_empty": True,
  "eval.normalizer": "relevant",
  "eval.select_metric": "acg@100",
  "eval.metrics": "('ndcg@5',)",
}
# Path -> name of something that does not exist.
NAMES = {
  "data.name": "unknown",
  "data.protocol": "unknown",
  "model.pretrained": "unknown.pth",
}


def _config(changes):
  config = digits.get_config()
  for path, value in {**SMALL, **changes}.items():
    section, _, name = path.rpartition(".")
    owner = fields.get(config, section) if section else config
    owner[name] = value
  return config


def test_every_field_is_listed():
  declared = set(fields.flatten(default.get_config())) | {"loss.name"}
  seen = set(SEEN_IN_FILES) | set(SEEN_IN_SCORES)
  known = set(EFFECTS) | seen | set(NAMES) | set(REFUSED)
  assert declared == known | RESOURCES


@pytest.mark.parametrize("path", EFFECTS)
def test_setting_a_field_changes_the_run(path, command):
  value, observe, needed = EFFECTS[path]
  needed = {"data.dir": command.data_dir, **needed}
  before = observe(_config(needed))
  assert observe(_config({**needed, path: value})) != before


@pytest.mark.parametrize("path", REFUSED)
def test_a_field_without_effect_is_refused(path):
  config = _config({path: REFUSED[path]})
  with pytest.raises(errors.UserError, match=f"config.{path} is refused"):
    overrides.check(config, [path])


@pytest.mark.parametrize(
  "path, value, others",
  [
    ("optimizer.momentum", 0.5, {}),
    ("optimizer.halve_every_steps", 7, {}),
    ("optimizer.drop_at", (0.3,), {}),
    ("data.mean", (0.4, 0.4, 0.4), {"model.pretrained": "file.pth"}),
    ("data.std", (0.4, 0.4, 0.4), {"model.pretrained": "file.pth"}),
    ("data.flip", True, {"model.frozen": True}),
    ("data.crop_padding", 2, {"model.frozen": True}),
    ("model.remat", True, {"model.frozen": True}),
    ("optimizer.multipliers", (("backbone", 0.5),), {"model.frozen": True}),
    ("optimizer.multipliers", (("backbone", 0.5),), {"model.pretrained": ""}),
  ],
)
def test_a_field_is_refused_where_other_fields_disable_it(path, value, others):
  config = _config({**others, path: value})
  with pytest.raises(errors.UserError, match=f"config.{path} is refused"):
    overrides.check(config, [path])


def test_a_random_backbone_has_no_multiplier():
  slow, none = (
    _config({"model.pretrained": "", "optimizer.multipliers": pairs})
    for pairs in ((("backbone", 0.5), ("backbone/stem", 0.1)), ())
  )
  assert _program(slow) == _program(none)


def _files_and_scores(workdir):
  """Return (files, checkpoints and length of the log) and the scores."""
  result = json.loads((workdir / "result.json").read_text())
  names = {path.name.partition(".out.")[0] for path in workdir.iterdir()}
  names |= set(commands.checkpoints(workdir))
  with np.load(workdir / "codes.npz") as saved:
    names |= set(saved.files)
  scores = ("metrics", "validation", "selected_step", "select", "counts")
  log = len(commands.read_log(workdir))
  return (names, log), {name: result[name] for name in scores}


@pytest.mark.long
def test_fields_of_logs_and_scores_change_a_run(command, tmp_path):
  assert command.finished  # Builds the data once.
  # Each run changes one of each.
  pairs = list(
    itertools.zip_longest(SEEN_IN_FILES.items(), SEEN_IN_SCORES.items())
  )
  changes = [(), *pairs, *([name] for name in NAMES.items())]
  before, *runs = command.run_forked(
    [
      [
        *commands.SMALL,
        # All conventions differ: queries have 0 to 3 relevant items.
        "--config.data.num_database=3",
        "--config.eval.metrics=('map@2',)",
        *(f"--config.{path}={value}" for path, value in filter(None, change)),
        f"--workdir={tmp_path / str(number)}",
      ]
      for number, change in enumerate(changes)
    ]
  )
  assert before[0] == 0, before[2]
  files, scores = _files_and_scores(tmp_path / "0")
  for number, (one, other) in enumerate(pairs, 1):
    code, _, err = runs[number - 1]
    assert code == 0, err
    new_files, new_scores = _files_and_scores(tmp_path / str(number))
    assert new_files != files, one
    assert other is None or new_scores != scores, other
  for value, (code, _, err) in zip(
    NAMES.values(), runs[len(pairs) :], strict=True
  ):
    assert code == 2 and value in err, err


def test_the_command_line_refuses_an_override_of_method(command):
  ((code, _, err),) = command.run_forked([["--config.method=dsrh"]])
  assert code == 2 and "--config=FILE:method=dsrh" in err
  assert err.count("\n") == 1
