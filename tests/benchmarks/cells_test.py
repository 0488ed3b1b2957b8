"""Tests of benchmarks.tables.cells and of every table config."""

import csv
import importlib
import json
import pathlib
import sys

import pytest
from absl import flags
from ml_collections import config_flags

from benchmarks.tables import cells, rates
from configs import methods
from configs.tables import default, digits_more
from dsh_jax import errors
from dsh_jax.retrieval import evaluation

_ROOT = pathlib.Path(__file__).parents[2]
_TABLES = sorted(
  path.stem
  for path in (_ROOT / "configs" / "tables").glob("*.py")
  if path.stem not in ("default", "downloads")
)


def _config(**fields):
  config = default.get_config()
  config.title = "A title"
  config.config = "configs/digits.py"
  config.metrics = ("ndcg@100",)
  config.cells = (dict(methods=("idhn", "dhn"), bits=(8, 16), seeds=(0, 1)),)
  config.update(fields)
  return config


def test_groups_come_in_order_and_seed_by_seed():
  config = _config(
    cells=(
      dict(methods=("idhn", "dhn"), bits=(48,), seeds=(3, 4)),
      dict(methods=("dhn",), bits=(12, 48), seeds=(3,)),
      dict(
        methods=("dhn",),
        bits=(48,),
        seeds=(3,),
        variant="wide",
        overrides=("train.batch_size=256",),
      ),
    ),
    method_overrides=dict(dhn=("train.num_epochs=3",)),
  )
  table = cells.make_table(config)
  assert [(c.method, c.bits, c.seed, c.variant) for c in table.wanted] == [
    ("idhn", 48, 3, ""),
    ("dhn", 48, 3, ""),
    ("idhn", 48, 4, ""),
    ("dhn", 48, 4, ""),
    ("dhn", 12, 3, ""),
    ("dhn", 48, 3, "wide"),
  ]
  assert len({cell.folder for cell in table.wanted}) == 6
  assert table.settings(table.wanted[-1])[-2:] == [
    "--config.train.num_epochs=3",
    "--config.train.batch_size=256",
  ]
  assert "--config.train.num_epochs=3" not in table.settings(table.wanted[0])


def test_a_grid_grows_until_its_best_is_inside(tmp_path):
  config = _config(
    grid=dict(
      learning_rates=(0.1, 0.2),
      further_rates=(0.05, 0.4, 0.8),
      bits=8,
      seed=0,
      metric="map@all",
    )
  )
  table = cells.make_table(config)

  def finish(rate, score):
    (run,) = (
      run
      for run in (*table.grid_of("idhn"), *table.further_of("idhn"))
      if run.learning_rate == rate
    )
    (tmp_path / run.folder).mkdir(parents=True)
    content = {"validation": {"validation/map@all": score}}
    (tmp_path / run.folder / "result.json").write_text(json.dumps(content))

  def further():
    return {
      run.learning_rate: rates.needed(table, tmp_path, run)
      for run in table.further_of("idhn")
    }

  def choose():
    return rates.choose(table, tmp_path, "idhn")

  assert further() == {0.05: None, 0.4: None, 0.8: None}
  finish(0.1, 0.5)
  finish(0.2, 0.6)
  assert not choose().is_final
  assert further() == {0.05: None, 0.4: True, 0.8: None}
  finish(0.4, 0.55)
  assert choose().rate == 0.2
  assert choose().is_final and not choose().is_at_edge
  assert further() == {0.05: False, 0.4: True, 0.8: False}


def test_a_grid_that_ends_at_its_edge_says_so(tmp_path):
  config = _config(
    grid=dict(learning_rates=(0.1, 0.2), bits=8, seed=0, metric="map@all")
  )
  table = cells.make_table(config)
  for run in table.grid_of("idhn"):
    (tmp_path / run.folder).mkdir(parents=True)
    content = {"validation": {"validation/map@all": run.learning_rate}}
    (tmp_path / run.folder / "result.json").write_text(json.dumps(content))
  choice = rates.choose(table, tmp_path, "idhn")
  assert choice.is_final and choice.is_at_edge


def test_a_grid_run_stands_for_the_cell_at_its_rate():
  config = _config(
    grid=dict(learning_rates=(0.1, 0.2), bits=8, seed=0, metric="map@all")
  )
  table = cells.make_table(config)
  assert len(table.grid) == 4
  cell = table.wanted[0]
  run = table.cell_at(cell, 0.2)
  assert run in table.grid
  other = table.cell_at(cells.Cell("idhn", 8, 1), 0.2)
  assert not other.in_grid
  assert other.learning_rate == 0.2
  folders = {c.folder for c in (*table.grid, *table.wanted)}
  assert len(folders) == len(table.grid) + len(table.wanted)


def test_flags_of_a_cell():
  config = _config(arguments="backbone=tiny", overrides=("train.num_epochs=2",))
  table = cells.make_table(config, ["data.dir=/d"])
  cell = cells.Cell("idhn", 8, 1, 0.003, overrides=("loss.mse_weight=0.5",))
  assert table.settings(cell) == [
    "--config=configs/digits.py:method=idhn,bits=8,backbone=tiny",
    "--config.seed=1",
    "--config.optimizer.learning_rate=0.003",
    "--config.train.num_epochs=2",
    "--config.data.dir=/d",
    "--config.loss.mse_weight=0.5",
  ]


def test_a_group_may_have_arguments_and_overrides_of_its_own():
  config = _config(
    arguments="backbone=tiny",
    overrides=("train.num_epochs=2",),
    cells=(
      dict(methods="idhn", bits=8, seeds=0),
      dict(
        methods="idhn_release",
        bits=8,
        seeds=0,
        arguments="epochs=3",
        overrides=("model.pretrained=FILE",),
      ),
    ),
  )
  table = cells.make_table(config)
  shared, own = (table.settings(cell) for cell in table.wanted)
  assert shared[0].endswith("method=idhn,bits=8,backbone=tiny")
  assert own[0].endswith("method=idhn_release,bits=8,epochs=3")
  assert own[-2:] == [
    "--config.train.num_epochs=2",
    "--config.model.pretrained=FILE",
  ]


# How ml_collections reads a config file.
@pytest.mark.filterwarnings("ignore:the load_module")
@pytest.mark.parametrize(
  ("table", "method", "backbone", "layers"),
  [
    ("idhn", "idhn_release", "caffenet", ()),
    ("dsrh", "dsrh_release", "alexnet_dsrh", ("fc6", "fc7")),
    ("dsrh", "dsrh_two_layers", "alexnet", ("fc6", "fc7")),
  ],
)
def test_releases_keep_their_network_beside_the_shared_one(
  table, method, backbone, layers, monkeypatch
):
  made = cells.make_table(
    importlib.import_module(f"configs.tables.{table}").get_config()
  )
  cell = next(cell for cell in made.wanted if cell.method == method)
  monkeypatch.setattr(sys, "argv", ["table", *made.settings(cell)])
  values = flags.FlagValues()
  config = config_flags.DEFINE_config_file("config", flag_values=values)
  values(sys.argv)
  assert config.value.model.backbone == backbone
  assert config.value.model.feature_layers == layers


@pytest.mark.parametrize(
  ("fields", "message"),
  [
    (dict(cells=()), "no cells"),
    (dict(metrics=()), "metrics"),
    (dict(cells=(dict(method="idhn", bits=(8,)),)), "methods, bits and seeds"),
    (dict(overrides=("train.num_epochs",)), "PATH=VALUE"),
    (dict(overrides=("--x=1",)), "PATH=VALUE"),
  ],
)
def test_wrong_configs_say_what_to_change(fields, message):
  with pytest.raises(errors.UserError, match=message):
    cells.make_table(_config(**fields))


@pytest.mark.parametrize("name", _TABLES)
def test_every_table_names_what_exists(name):
  module = importlib.import_module(f"configs.tables.{name}")
  table = cells.make_table(module.get_config())
  assert {cell.method for cell in table.wanted} <= set(methods.METHODS)
  assert (_ROOT / table.config).exists()
  assert all(size > 0 for size in table.sizes.values())
  for metric in (*table.metrics, table.grid_metric):
    evaluation.parse(metric)


def test_the_digits_table_has_every_method():
  from configs.tables import digits

  left_out = {
    name
    for name in methods.METHODS
    if name.endswith(("_release", "_sampled", "_two_layers"))
  }
  assert set(digits.METHODS) == set(methods.METHODS) - left_out


def test_other_lengths_have_the_rates_that_the_table_chose():
  with open(_ROOT / "benchmarks/results/digits/table.csv", newline="") as file:
    chosen = {
      row["method"]: float(row["learning_rate"])
      for row in csv.DictReader(file)
      if row["learning_rate"] and not row["variant"]
    }
  table = cells.make_table(digits_more.get_config())
  found = {cell.method: table.learning_rate(cell) for cell in table.wanted}
  assert found == {method: chosen[method] for method in found}
