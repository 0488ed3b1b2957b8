"""Several real processes on loopback train one model."""

import contextlib
import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import time

import commands
import numpy as np
import pytest

from dsh_jax.retrieval import evaluation

ROOT = pathlib.Path(__file__).parents[1]
NUM_DEVICES = 4
ARGUMENTS = (
  "--config=configs/digits.py:method=idhn,bits=16,epochs=2,start=cold",
  "--config.data.num_train=48",
  "--config.data.num_validation=40",
  "--config.data.num_query=40",
  "--config.data.num_database=120",
  "--config.data.image_size=32",
  "--config.train.batch_size=16",
  "--config.train.validate_every_epochs=2",
  "--config.train.checkpoint_every_steps=2",
  "--config.train.log_every_steps=1",
  "--config.eval.batch_size=64",
  # Adam would turn rounding in a gradient near zero into a whole step.
  "--config.optimizer.name=sgd",
  "--config.optimizer.learning_rate=0.01",
  "--config.tensorboard=False",
  "--noreport",
)


def _start(command, workdir, num_processes, kind):
  """Starts the hosts, all on this machine, and returns their parent."""
  with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    port = free.getsockname()[1]
  environment = command.environment | {
    "PYTHONPATH": str(ROOT),
    # Of several processes one alone would find its programs in a cache, and
    # give up after 30 s of waiting for the others to compile theirs.
    "JAX_ENABLE_COMPILATION_CACHE": "false",
    "XLA_FLAGS": "--xla_backend_optimization_level=0"
    " --xla_cpu_use_fusion_emitters=false"  # Compiles in half the time.
    " --xla_force_host_platform_device_count="
    f"{NUM_DEVICES // num_processes}",
  }
  return subprocess.Popen(
    [
      sys.executable,
      str(ROOT / "tests" / "hosts.py"),
      str(num_processes),
      str(port),
      *ARGUMENTS,
      f"--config.parallel={kind}",
      f"--workdir={workdir}",
    ],
    cwd=ROOT,
    env=environment,
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
    start_new_session=True,  # All of them can be killed at once.
  )


def _finish(hosts, code=0):
  """Waits for all to end with a code; returns what they said."""
  out, err = hosts.communicate(timeout=900)
  assert set(out.splitlines()[-1].split()) == {str(code)}, err
  return err


def _wait_for_log(workdir, num_lines):
  """Waits until training has begun."""
  deadline = time.monotonic() + 600
  while time.monotonic() < deadline:
    with contextlib.suppress(FileNotFoundError):
      if len(commands.read_log(workdir)) >= num_lines:
        return
    time.sleep(0.01)


def _read(workdir):
  lines = [
    json.loads(line)
    for line in (workdir / "metrics.jsonl").read_text().splitlines()
  ]
  result = json.loads((workdir / "result.json").read_text())
  with np.load(workdir / "codes.npz", allow_pickle=False) as saved:
    saved = dict(saved)
  # However the hosts shared the work, they counted each pair once.
  again = evaluation.evaluate_codes(
    *(saved[f"{split}_codes"] for split in ("query", "database")),
    *(saved[f"{split}_labels"] for split in ("query", "database")),
    num_bits=16,
    names=tuple(result["metrics"]),
  )
  assert result["metrics"] == again["metrics"]
  return (
    lines,
    result,
    np.concatenate([saved["query_codes"], saved["database_codes"]]),
  )


def _assert_same_run(got, want):
  lines, result, codes = got
  for mine, other in zip(lines, want[0], strict=True):
    assert mine.keys() == other.keys()
    for name, value in mine.items():
      np.testing.assert_allclose(value, other[name], 1e-3, err_msg=name)
  # Of 16 bits; one whose logit is zero to rounding may differ.
  assert np.bitwise_count(codes ^ want[2]).mean() < 0.05
  for name, scores in result["metrics"].items():
    expected = want[1]["metrics"][name]["expected"]
    assert scores["expected"] == pytest.approx(expected, abs=5e-3), name


@pytest.fixture(scope="module")
def one_process(command, tmp_path_factory):
  command.build_data()
  workdir = tmp_path_factory.mktemp("one") / "run"
  _finish(_start(command, workdir, 1, "pmap"))
  return _read(workdir)


def test_four_train_what_one_trains(command, one_process, tmp_path):
  _finish(_start(command, tmp_path / "run", 4, "pmap"))
  _assert_same_run(_read(tmp_path / "run"), one_process)


def test_two_stop_if_one_is_told_or_killed_and_continue(
  command, one_process, tmp_path
):
  workdir = tmp_path / "run"
  hosts = _start(command, workdir, 2, "jit")
  first, second = map(int, hosts.stdout.readline().split())
  _wait_for_log(workdir, 1)
  os.kill(first, signal.SIGSTOP)  # Else they might be done before it is told.
  os.kill(second, signal.SIGTERM)
  time.sleep(1.5)
  os.kill(first, signal.SIGCONT)
  err = _finish(hosts, 143)
  (step, other) = re.findall(r"by SIGTERM after step (\d+), which is s", err)
  assert step == other and int(step) < 10
  assert commands.checkpoints(workdir)[-1] == int(step), err

  hosts = _start(command, workdir, 2, "jit")
  _wait_for_log(workdir, int(step) + 1)
  os.killpg(hosts.pid, signal.SIGKILL)
  hosts.communicate()
  assert not (workdir / "result.json").exists()

  _finish(_start(command, workdir, 2, "jit"))
  _assert_same_run(_read(workdir), one_process)
