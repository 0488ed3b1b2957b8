"""Several real processes on loopback train one model."""

import contextlib
import errno
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import time

import commands
import numpy as np
import pytest

from benchmarks.faults import host_processes
from dsh_jax.retrieval import evaluation

ROOT = pathlib.Path(__file__).parents[1]
ARGUMENTS = (
  *host_processes.ARGUMENTS,
  "--config.train.num_epochs=2",
  "--config.train.validate_every_epochs=2",
  "--config.train.checkpoint_every_steps=2",
  # Adam would turn rounding in a gradient near zero into a whole step.
  "--config.optimizer.name=sgd",
  "--config.optimizer.learning_rate=0.01",
)


def _start(command, workdir, num_processes, kind, *more, **environment):
  """Start the hosts, all on this machine, and return their parent."""
  return subprocess.Popen(
    [
      sys.executable,
      str(ROOT / "tests" / "hosts.py"),
      str(num_processes),
      str(host_processes.free_port()),
      *ARGUMENTS,
      f"--config.parallel={kind}",
      f"--workdir={workdir}",
      *more,
    ],
    cwd=ROOT,
    env=command.environment
    | host_processes.environment(num_processes)
    | environment,
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
    start_new_session=True,  # All of them can be killed at once.
  )


def _finish(hosts, code=0):
  """Wait for all to end with a code; return what they said."""
  out, err = hosts.communicate(timeout=900)
  assert set(out.splitlines()[-1].split()) == {str(code)}, err
  return err


def _wait_until(happens):
  deadline = time.monotonic() + 600
  while time.monotonic() < deadline:
    with contextlib.suppress(FileNotFoundError):
      if happens():
        return
    time.sleep(0.01)


def _wait_for_log(workdir, num_lines):
  """Wait until training has begun."""
  _wait_until(lambda: len(commands.read_log(workdir)) >= num_lines)


def _read(workdir):
  lines = commands.read_scalars(workdir)
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
  assert result["baselines"] == want[1]["baselines"]  # Of untrained pixels.
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


@pytest.mark.long
def test_four_train_what_one_trains(command, one_process, tmp_path):
  _finish(_start(command, tmp_path / "run", 4, "pmap"))
  _assert_same_run(_read(tmp_path / "run"), one_process)


@pytest.fixture(scope="module")
def two_processes(command, tmp_path_factory):
  """The folder of an undisturbed run of two."""
  command.build_data()
  workdir = tmp_path_factory.mktemp("two") / "run"
  _finish(_start(command, workdir, 2, "jit"))
  return workdir


def test_two_train_what_one_trains(two_processes, one_process):
  _assert_same_run(_read(two_processes), one_process)


def test_two_stop_if_one_is_told_or_killed_and_continue(
  command, two_processes, tmp_path
):
  workdir = tmp_path / "run"
  hosts = _start(command, workdir, 2, "jit")
  first, second = map(int, hosts.stdout.readline().split())
  _wait_for_log(workdir, 1)
  os.kill(first, signal.SIGSTOP)  # Keeps both from finishing first.
  os.kill(second, signal.SIGTERM)
  time.sleep(1.5)
  os.kill(first, signal.SIGCONT)
  err = _finish(hosts, 143)
  (step, other) = re.findall(r"by SIGTERM after step (\d+), which is s", err)
  assert step == other and int(step) < 6
  assert commands.checkpoints(workdir)[-1] == int(step), err

  hosts = _start(command, workdir, 2, "jit")
  _wait_for_log(workdir, int(step) + 1)
  first, _ = map(int, hosts.stdout.readline().split())
  os.kill(first, signal.SIGKILL)  # The one that JAX's service runs on.
  killed = time.monotonic()
  out, err = hosts.communicate(timeout=900)
  assert time.monotonic() - killed < 30
  assert out.splitlines()[-1].split() == ["-9", "5"], err
  assert re.findall("^dsh_jax: .*", err, re.MULTILINE) == [
    "dsh_jax: Host 0 has ended: it was killed, or its machine or network"
    " failed. Start all hosts again with the same command to continue."
  ], err
  assert "Traceback" not in err and "F1" not in err, err
  assert not (workdir / "result.json").exists()

  _finish(_start(command, workdir, 2, "jit"))
  commands.assert_same_run(workdir, two_processes)


def _unfinished(workdir, tmp_path):
  """Return a copy of a run without its result."""
  copy = tmp_path / "run"
  shutil.copytree(workdir, copy)
  (copy / "result.json").unlink()
  return copy


def test_two_stop_while_they_validate_or_evaluate(
  command, two_processes, tmp_path
):
  workdir = _unfinished(two_processes, tmp_path)
  shutil.rmtree(workdir / "checkpoints" / "6")
  for method, words in (
    ("validate", "Stopped by SIGTERM after step 6, which is saved."),
    ("test", "Stopped by SIGTERM. The same command"),
  ):
    mark = tmp_path / method
    hosts = _start(command, workdir, 2, "jit", DSH_JAX_SLOW=f"{method}:{mark}")
    _, second = map(int, hosts.stdout.readline().split())
    _wait_until(mark.exists)
    os.kill(second, signal.SIGTERM)
    lines = _one_line_each(_finish(hosts, 143))
    assert all(words in line for line in lines), lines
    # Only the second run has validated the last step.
    same = commands.read_scalars(workdir) == commands.read_scalars(
      two_processes
    )
    assert same == (method == "test")
  assert commands.last_digest(workdir) == commands.last_digest(two_processes)
  assert not (workdir / "result.json").exists()


def test_two_agree_on_the_step_they_continue_from(
  command, two_processes, tmp_path
):
  workdir = _unfinished(two_processes, tmp_path)
  # Host 1 finds the newest damaged, and cannot read the next one at first.
  reads = {"6": [0], "4": [errno.EIO, errno.ESTALE]}
  hosts = _start(command, workdir, 2, "jit", DSH_JAX_READS=json.dumps(reads))
  err = _finish(hosts)
  assert err.count("/6 is damaged: wrong bytes on host 1. It is skip") == 2, err
  assert re.findall(r"^step (\d)/6", err, re.MULTILINE)[0] == "5", err
  commands.assert_same_run(workdir, two_processes)


def test_two_end_if_one_cannot_read_a_checkpoint(
  command, two_processes, tmp_path
):
  workdir = _unfinished(two_processes, tmp_path)
  damaged = {str(step): [0] for step in (2, 4, 6)}
  hosts = _start(command, workdir, 2, "jit", DSH_JAX_READS=json.dumps(damaged))
  lines = _one_line_each(_finish(hosts, 2))
  for step in damaged:
    assert all(f"/{step} is damaged: wrong bytes on host 1" in x for x in lines)


def _one_line_each(err):
  lines = err.split("dsh_jax: ")[1:]  # Of two writers, newlines may come late.
  assert len(lines) == 2 and "Traceback" not in err, err
  return lines


@pytest.mark.parametrize(
  "argument, words",
  [
    (
      "--config.optimizer.learning_rate=0.{host}1",
      "config.optimizer.learning_rate is 0.01 on host 0 and 0.11 on host 1",
    ),
    ("--config.bits={host}0", "config.bits is 0; it must be from 1 to 256"),
    ("--workdir={folder}/{host}", "host 1 does not see what host 0 writes"),
  ],
  ids=["config", "refused", "workdir"],
)
def test_two_that_differ_end_before_they_train(
  command, tmp_path, argument, words
):
  command.build_data()
  argument = argument.replace("{folder}", str(tmp_path))
  hosts = _start(command, tmp_path / "run", 2, "jit", argument)
  lines = _one_line_each(_finish(hosts, 2))
  assert all(words in line for line in lines), lines
