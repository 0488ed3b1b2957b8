"""The command line, as real processes."""

import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

ROOT = pathlib.Path(__file__).parents[1]

# Four epochs of four steps, a validation each second one, and checkpoints in
# between.
SMALL = (
  "--config=configs/digits.py:method=idhn,bits=16,epochs=4",
  "--config.data.num_train=64",
  "--config.data.num_database=200",
  "--config.data.num_query=40",
  "--config.data.num_validation=40",
  "--config.data.image_size=32",
  "--config.train.batch_size=16",
  "--config.train.validate_every_epochs=2",
  "--config.train.checkpoint_every_steps=3",
  "--config.train.log_every_steps=1",
  "--config.eval.batch_size=64",
)


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
  """One cache of data and of compiled programs for all processes."""
  folder = tmp_path_factory.mktemp("shared")
  return os.environ | {
    "XDG_CACHE_HOME": str(folder),
    "JAX_COMPILATION_CACHE_DIR": str(folder / "compiled"),
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    "XLA_FLAGS": "--xla_backend_optimization_level=0",
  }


def start(environment, *arguments):
  """Starts the command; the caller waits for it."""
  return subprocess.Popen(
    [sys.executable, "-m", "dsh_jax.main", *map(str, arguments)],
    cwd=ROOT,
    env=environment,
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
  )


def run(environment, *arguments):
  """Returns (exit code, standard output, standard error)."""
  process = start(environment, *arguments)
  out, err = process.communicate(timeout=300)
  return process.returncode, out, err


def last_checkpoint(workdir):
  """Returns {file: bytes} of the arrays in the newest checkpoint."""
  steps = pathlib.Path(workdir, "checkpoints").iterdir()
  newest = max(
    (s for s in steps if s.name.isdigit()), key=lambda s: int(s.name)
  )
  return json.loads((newest / "facts" / "metadata").read_text())


@pytest.fixture(scope="module")
def finished(environment, tmp_path_factory):
  """An undisturbed run: (workdir, exit code, standard output, error)."""
  workdir = tmp_path_factory.mktemp("finished") / "run"
  return workdir, *run(environment, *SMALL, f"--workdir={workdir}")


def test_a_run_prints_the_table_and_leaves_its_files(finished):
  workdir, code, out, err = finished
  assert code == 0, err
  assert "ndcg@100" in out and "pessimistic" in out
  assert err.startswith("step 1/16"), "something was printed before it"
  result = json.loads((workdir / "result.json").read_text())
  assert result["counts"] == {
    "queries": 40,
    "database": 200,
    "queries_without_relevant": result["counts"]["queries_without_relevant"],
  }
  for scores in result["metrics"].values():
    assert scores["pessimistic"] <= scores["expected"] <= scores["optimistic"]
  assert set(result["split_sha256"]) >= {"train", "query", "database"}
  assert result["images_per_sec"] > 0
  lines = [json.loads(x) for x in (workdir / "metrics.jsonl").open()]
  losses = [x["step"] for x in lines if "train/loss" in x]
  assert losses == list(range(1, 17))
  assert sum("validation/ndcg@100" in x for x in lines) == 2
  assert list(workdir.glob("events.out.tfevents*"))
  with np.load(workdir / "codes.npz", allow_pickle=False) as saved:
    assert saved["query_codes"].shape == (40, 1)
    assert saved["database_labels"].shape == (200, 10)


def test_the_same_command_again_prints_without_training(finished, environment):
  workdir, _, out, _ = finished
  before = (workdir / "result.json").stat().st_mtime_ns
  code, again, err = run(environment, *SMALL, f"--workdir={workdir}")
  assert (code, again, err) == (0, out, "")
  assert (workdir / "result.json").stat().st_mtime_ns == before


@pytest.mark.parametrize("kill_after", [5, 12])
def test_killed_and_run_again_is_bit_identical(
  finished, environment, tmp_path, kill_after
):
  want, *_ = finished
  arguments = (*SMALL, f"--workdir={tmp_path}")
  process = start(environment, *arguments)
  log = tmp_path / "metrics.jsonl"
  deadline = time.monotonic() + 200
  while process.poll() is None and time.monotonic() < deadline:
    if log.exists() and len(log.read_text().splitlines()) >= kill_after:
      process.send_signal(signal.SIGKILL)
      break
    time.sleep(0.005)
  process.communicate()
  assert process.returncode == -signal.SIGKILL
  assert not (tmp_path / "result.json").exists()
  code, _, err = run(environment, *arguments)
  assert code == 0, err
  assert "step 1/16" not in err, "it started from scratch"
  assert last_checkpoint(tmp_path)["sha256"] == last_checkpoint(want)["sha256"]
  got, expected = (
    json.loads((w / "result.json").read_text()) for w in (tmp_path, want)
  )
  assert got["metrics"] == expected["metrics"]
  with np.load(tmp_path / "codes.npz") as x, np.load(want / "codes.npz") as y:
    for name in y.files:
      np.testing.assert_array_equal(x[name], y[name])
  steps = [json.loads(x)["step"] for x in log.open()]
  assert steps == [
    json.loads(x)["step"] for x in (want / "metrics.jsonl").open()
  ]


def test_without_tensorflow_it_trains_and_evaluates(
  finished, environment, tmp_path
):
  (tmp_path / "tensorflow.py").write_text("raise ImportError('hidden')")
  hidden = environment | {"PYTHONPATH": str(tmp_path)}
  code, out, err = run(hidden, *SMALL, f"--workdir={tmp_path / 'run'}")
  assert code == 0, err
  assert "No TensorBoard files" in err
  assert out.splitlines()[:-4] == finished[2].splitlines()[:-4]
  assert not list((tmp_path / "run").glob("events*"))


def test_another_configuration_is_refused(finished, environment):
  workdir, *_ = finished
  code, out, err = run(
    environment, *SMALL, f"--workdir={workdir}", "--config.seed=7"
  )
  assert (code, out) == (2, "")
  assert "config.seed was 0 and is now 7" in err
  assert len(err.splitlines()) == 1


@pytest.mark.parametrize(
  "arguments, words",
  [
    (["--config.bitz=3"], ["bitz"]),
    (["--config.bits=many"], ["bits", "many"]),
    (["--config.bits=257"], ["config.bits", "257", "1 to 256"]),
    (["--config=configs/digits.py:method=idnh"], ["'idnh'", "'idhn'?"]),
    (["--config=configs/digits.py:bits"], ["'bits'", "name=value"]),
    (["--config=configs/nothing.py"], ["configs/nothing.py"]),
    (["--config.model.backbone=resnet5"], ["'resnet5'", "'resnet50'?"]),
    (["--config.data.name=digit"], ["'digit'", "'digits'?"]),
    (["--config.data.protocol=x"], ["config.data.protocol", "digits"]),
    (["--config.train.batch_size=100000"], ["config.train.batch_size"]),
    (["--config.train.accumulate=3"], ["config.train.batch_size", "1 x 3"]),
    (["--workdir=/proc/nothing/run"], ["--workdir=/proc/nothing/run"]),
    (["surplus"], ["surplus"]),
  ],
)
def test_bad_input_is_one_line_and_leaves_nothing(
  arguments, words, environment, tmp_path
):
  workdir = tmp_path / "run"
  code, out, err = run(environment, f"--workdir={workdir}", *arguments)
  assert (code, out) == (2, "")
  assert len(err.splitlines()) == 1, err
  assert all(word in err for word in words), err
  assert not workdir.exists()
