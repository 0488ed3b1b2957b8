"""Tests of benchmarks.tables.cells and of every table config."""

import importlib
import pathlib

import pytest

from benchmarks.tables import cells
from configs import methods
from configs.tables import default
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


def test_first_seed_of_everything_comes_first():
  config = _config(
    cells=(
      dict(methods=("idhn", "dhn"), bits=(48,), seeds=(3, 4)),
      dict(methods=("dhn",), bits=(12, 48), seeds=(3,)),
    )
  )
  wanted = cells.make_table(config).wanted
  assert [(c.method, c.bits, c.seed) for c in wanted] == [
    ("idhn", 48, 3),
    ("dhn", 48, 3),
    ("dhn", 12, 3),
    ("idhn", 48, 4),
    ("dhn", 48, 4),
  ]


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
    if name.endswith(("_release", "_two_layers", "_bins"))
  }
  assert set(digits.METHODS) == set(methods.METHODS) - left_out
