"""The table and study commands, end to end with tiny cells."""

import csv
import json
import os
import pathlib
import subprocess
import sys

import pytest

_ROOT = pathlib.Path(__file__).parents[2]

_TABLE = """
from configs.tables import default

def get_config():
  config = default.get_config()
  config.title = "Tiny"
  config.config = "configs/digits.py"
  config.overrides = (
    "train.num_epochs=1",
    "train.batch_size=64",
    "tensorboard=False",
    "parallel=jit",
    "data.image_size=16",
    "data.num_train=128",
    "data.num_validation=32",
    "data.num_query=30",
    "data.num_database=200",
  )
  # The second cannot be built: codes have 256 bits at most.
  config.cells = (dict(methods=("dhn",), bits=(8, 300), seeds=(0,)),)
  config.references = dict(methods=("lsh", "cosine"), bits=(8,))
  config.metrics = ("ndcg@100", "map@all")
  config.sizes = dict(
    train=128, validation=32, query=30, database=200, num_classes=10
  )
  return config
"""

_STUDY = """
import table

def get_config():
  config = table.get_config()
  config.cells = (dict(methods=("idhn",), bits=(8,), seeds=(0,)),)
  config.unlock()
  config.method = "idhn"
  config.sweeps = (dict(field="train.num_epochs", values=(1, 2)),)
  config.plane = (
    dict(field="loss.logit_scale", values=(5.0,)),
    dict(field="loss.mse_weight", values=(0.0, 0.1)),
  )
  return config
"""


def _command(module, folder, *arguments):
  return subprocess.run(
    [
      sys.executable,
      "-m",
      f"benchmarks.{module}",
      f"--config={folder / module}.py",
      f"--workdir={folder / 'work'}",
      f"--override=data.dir={folder / 'data'}",
      *arguments,
    ],
    cwd=_ROOT,
    capture_output=True,
    text=True,
    timeout=300,
    # One device, and little time spent on compiling.
    env=os.environ | {"XLA_FLAGS": "--xla_backend_optimization_level=0"},
  )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  folder = tmp_path_factory.mktemp("table")
  (folder / "tables.py").write_text(_TABLE)
  return folder


@pytest.fixture(scope="module")
def done(folder):
  return _command("tables", folder)


def test_table(folder, done):
  assert done.returncode == 1, done.stderr  # One cell has failed.
  assert "dhn 8 bits seed 0: done" in done.stdout
  assert "dhn 300 bits seed 0: failed, dsh_jax: config.bits" in done.stdout
  work = folder / "work"
  text = (work / "table.md").read_text()
  assert "1 of 2 runs are done, 1 have failed" in text
  with open(work / "table.csv", newline="") as file:
    lines = {(r["method"], r["metric"]): r for r in csv.DictReader(file)}
  cell = json.loads((work / "cells/dhn/8bits_seed0/result.json").read_text())
  assert float(lines["dhn", "map@all"]["mean"]) == pytest.approx(
    cell["metrics"]["map@all"]["expected"], rel=1e-5
  )
  assert ("lsh", "map@all") in lines
  assert ("cosine", "ndcg@100") in lines
  assert (work / "table.png").exists()
  assert cell["split_sha256"]["query"] in text

  before = (work / "cells/dhn/8bits_seed0/result.json").stat().st_mtime_ns
  again = _command("tables", folder)
  assert "dhn 8 bits" not in again.stdout
  assert "dhn 300 bits seed 0: failed" in again.stdout
  after = (work / "cells/dhn/8bits_seed0/result.json").stat().st_mtime_ns
  assert before == after


def test_dry_run_tells_what_it_would_take(folder, done):
  done = _command("tables", folder, "--dry_run", "--jobs=2")
  assert done.returncode == 0, done.stderr
  for needed in (
    "Tiny: 2 runs",
    "dhn 8 bits seed 0: done, cells/dhn/8bits_seed0",
    "128 train, 32 validation, 30 query, 200 database",
    "GiB for 2 at a time",
    "s a step of 64 images",
    "for the 1 runs that are left",
  ):
    assert needed in done.stdout, needed


@pytest.mark.parametrize(
  ("arguments", "message"),
  [
    (["--override=train.num_epochs"], "not of the form PATH=VALUE"),
    (["--override=data.protocol=none"], "Unknown protocol of digits"),
    (["--config=configs/tables/idhn.py:nothing"], "allowed: mirflickr25k"),
    (["--config=configs/tables/nothing.py"], "configs/tables/nothing.py"),
    (["surplus"], "Unexpected argument 'surplus'"),
  ],
)
def test_wrong_input_is_one_line(folder, arguments, message):
  done = _command("tables", folder, *arguments)
  assert done.returncode == 2
  assert message in done.stderr
  assert done.stderr.count("\n") == 1
