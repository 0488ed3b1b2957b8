"""The table command, end to end with tiny cells."""

import csv
import json

import numpy as np
import pytest

pytestmark = pytest.mark.slow

_TABLE = """
from configs.tables import default

def get_config():
  config = default.get_config()
  config.title = "Tiny"
  config.config = "configs/digits.py"
  config.arguments = "start=cold"
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
  config.cells = (
    dict(methods=("dhn",), bits=(8,), seeds=(0, 1)),
    dict(methods=("dhn",), bits=(300,), seeds=(0,)),
  )
  config.references = dict(methods=("lsh", "cosine"), bits=(8,))
  config.metrics = ("ndcg@100", "map@all")
  config.sizes = dict(
    train=128, validation=32, query=30, database=200, num_classes=10
  )
  return config
"""


def _command(command, folder, *arguments):
  return command.run(
    f"--config={folder / 'tables.py'}",
    f"--workdir={folder / 'work'}",
    *arguments,
    module="benchmarks.tables",
  )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  folder = tmp_path_factory.mktemp("table")
  (folder / "tables.py").write_text(_TABLE)
  return folder


@pytest.fixture(scope="module")
def done(command, folder):
  return _command(command, folder)


def test_table(command, folder, done):
  code, out, err = done
  assert code == 1, err  # One cell has failed.
  assert "dhn 8 bits seed 0: done" in out
  assert "dhn 300 bits seed 0: failed, dsh_jax: config.bits" in out
  work = folder / "work"
  text = (work / "table.md").read_text()
  assert "2 of 3 runs are done, 1 have failed" in text
  with open(work / "table.csv", newline="") as file:
    lines = {(r["method"], r["metric"]): r for r in csv.DictReader(file)}
  cell = json.loads((work / "cells/dhn/8bits_seed0/result.json").read_text())
  other = json.loads((work / "cells/dhn/8bits_seed1/result.json").read_text())
  scores = [r["metrics"]["map@all"]["expected"] for r in (cell, other)]
  assert float(lines["dhn", "map@all"]["mean"]) == pytest.approx(
    sum(scores) / 2, rel=1e-5
  )
  assert ("lsh", "map@all") in lines
  assert ("cosine", "ndcg@100") in lines
  assert (work / "table.png").exists()
  assert cell["split_sha256"]["query"] in text

  before = (work / "cells/dhn/8bits_seed0/result.json").stat().st_mtime_ns
  _, again, _ = _command(command, folder)
  assert "dhn 8 bits" not in again
  assert "dhn 300 bits seed 0: failed" in again
  after = (work / "cells/dhn/8bits_seed0/result.json").stat().st_mtime_ns
  assert before == after


def test_a_cell_is_what_its_command_gives(command, folder, done):
  # The second of its method: it ran what was compiled for the first.
  cell = folder / "work/cells/dhn/8bits_seed1"
  settings = json.loads((cell / "cell.json").read_text())["settings"]
  alone = folder / "alone"
  code, _, err = command.run(*settings, "--noreport", f"--workdir={alone}")
  assert code == 0, err
  got, want = (
    json.loads((path / "result.json").read_text()) for path in (cell, alone)
  )
  for name in ("metrics", "validation", "diagnostics", "selected_step"):
    assert got[name] == want[name]
  with (
    np.load(cell / "codes.npz") as got,
    np.load(alone / "codes.npz") as want,
  ):
    for name in want.files:
      np.testing.assert_array_equal(got[name], want[name])


def test_a_dry_run_estimates_what_is_left(command, folder, done):
  code, out, err = _command(command, folder, "--dry_run", "--jobs=2")
  assert code == 0, err
  for needed in (
    "Tiny: 3 runs",
    "dhn 8 bits seed 0: done, cells/dhn/8bits_seed0",
    "128 train, 32 validation, 30 query, 200 database",
    "GiB for 2 at a time",
    "s a step of 64 images",
    "for the 1 runs that are left",
  ):
    assert needed in out, needed


def test_wrong_input_is_one_line(folder, command):
  messages = {
    "--override=train.num_epochs": "not of the form PATH=VALUE",
    "--override=data.protocol=none": "Unknown protocol of digits",
    "--config=configs/tables/idhn.py:nothing": "allowed: mirflickr25k",
    "--config=configs/tables/nothing.py": "configs/tables/nothing.py",
    "--shard=2/2": "--shard is '2/2'",
    "surplus": "Unexpected argument 'surplus'",
  }
  given = [f"--config={folder / 'tables.py'}", f"--workdir={folder / 'work'}"]
  found = command.run_forked(
    [[*given, argument] for argument in messages], "benchmarks.tables"
  )
  for (code, _, err), message in zip(found, messages.values(), strict=True):
    assert code == 2
    assert message in err
    assert err.count("\n") == 1
