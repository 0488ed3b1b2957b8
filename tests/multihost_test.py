"""Several real processes on loopback train one model."""

import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest

ROOT = pathlib.Path(__file__).parents[1]
NUM_DEVICES = 4
ARGUMENTS = (
  "--config=configs/digits.py:method=idhn,bits=16,epochs=4",
  "--config.data.num_train=72",
  "--config.data.num_validation=40",
  "--config.data.num_query=40",
  "--config.data.num_database=210",
  "--config.data.image_size=32",
  "--config.train.batch_size=16",
  "--config.train.validate_every_epochs=2",
  "--config.train.checkpoint_every_steps=3",
  "--config.train.log_every_steps=1",
  "--config.eval.batch_size=64",
)


def _start(folder, workdir, num_processes, kind):
  """Starts the processes, all on this machine, and returns them."""
  with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    port = free.getsockname()[1]
  environment = os.environ | {
    "XDG_CACHE_HOME": str(folder),
    "JAX_COMPILATION_CACHE_DIR": str(folder / "compiled"),
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    "XLA_FLAGS": "--xla_backend_optimization_level=0"
    " --xla_force_host_platform_device_count="
    f"{NUM_DEVICES // num_processes}",
  }
  command = [
    sys.executable,
    "-m",
    "dsh_jax.main",
    *ARGUMENTS,
    f"--config.parallel={kind}",
    "--config.tensorboard=False",
    f"--workdir={workdir}",
  ]
  joined = [
    "--distributed",
    f"--coordinator=127.0.0.1:{port}",
    f"--num_processes={num_processes}",
  ]
  return [
    subprocess.Popen(
      command
      + (joined + [f"--process_id={index}"] if num_processes > 1 else []),
      cwd=ROOT,
      env=environment,
      stdout=subprocess.DEVNULL,
      stderr=subprocess.PIPE,
      text=True,
    )
    for index in range(num_processes)
  ]


def _finish(processes):
  for process in processes:
    _, err = process.communicate(timeout=300)
    assert process.returncode == 0, err


def _read(workdir):
  lines = [
    json.loads(line)
    for line in (workdir / "metrics.jsonl").read_text().splitlines()
  ]
  result = json.loads((workdir / "result.json").read_text())
  with np.load(workdir / "codes.npz", allow_pickle=False) as saved:
    codes = np.concatenate([saved["query_codes"], saved["database_codes"]])
  return lines, result, codes


def _assert_same_run(got, want):
  lines, result, codes = got
  for mine, other in zip(lines, want[0], strict=True):
    assert mine.keys() == other.keys()
    np.testing.assert_allclose(
      list(mine.values()), list(other.values()), rtol=2e-3, atol=2e-3
    )
  # Bits whose logit is zero to rounding may differ, and few do.
  assert np.bitwise_count(codes ^ want[2]).mean() < 0.05
  for name, scores in result["metrics"].items():
    expected = want[1]["metrics"][name]["expected"]
    assert scores["expected"] == pytest.approx(expected, abs=5e-3), name


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
  return tmp_path_factory.mktemp("shared")


@pytest.fixture(scope="module")
def one_process(shared):
  workdir = shared / "one"
  _finish(_start(shared, workdir, 1, "pmap"))
  return _read(workdir)


@pytest.mark.parametrize(
  "num_processes, kind", [(2, "pmap"), (2, "jit"), (4, "pmap")]
)
def test_processes_train_what_one_process_trains(
  num_processes, kind, shared, one_process, tmp_path
):
  _finish(_start(shared, tmp_path / "run", num_processes, kind))
  _assert_same_run(_read(tmp_path / "run"), one_process)


def test_killed_half_way_they_continue(shared, one_process, tmp_path):
  workdir = tmp_path / "run"
  processes = _start(shared, workdir, 2, "pmap")
  log = workdir / "metrics.jsonl"
  deadline = time.monotonic() + 200
  while time.monotonic() < deadline:
    if log.exists() and len(log.read_text().splitlines()) >= 5:
      break
    time.sleep(0.01)
  for process in processes:
    process.send_signal(signal.SIGKILL)
  for process in processes:
    process.communicate()
  assert not (workdir / "result.json").exists()
  again = _start(shared, workdir, 2, "pmap")
  _finish(again)
  _assert_same_run(_read(workdir), one_process)
