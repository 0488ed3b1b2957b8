"""Tests of benchmarks.tables.runner, with real processes."""

import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest

from benchmarks.tables import processes, runner
from dsh_jax import errors

_SUCCEED = (
  "import json, os, pathlib, sys; f = pathlib.Path(sys.argv[1]);"
  "(f / 'result.json').write_text(json.dumps({"
  "'cores': sorted(os.sched_getaffinity(0)),"
  "'nice': os.nice(0), 'threads': os.environ.get('OMP_NUM_THREADS'),"
  "'xla': os.environ.get('XLA_FLAGS')}))"
)


def _job(folder, code, *settings):
  return runner.Job(
    title=folder.name,
    command=[sys.executable, "-c", code, str(folder)],
    settings=list(settings),
    folder=folder,
  )


def _run(jobs, num_jobs=1, **options):
  seen = []
  processes.run(
    jobs, lambda job: job, num_jobs, lambda *args: seen.append(args), **options
  )
  return {job.title: state for job, state, _ in seen}


def test_runs_all_and_skips_what_is_done(tmp_path):
  jobs = [_job(tmp_path / name, _SUCCEED, "--x=1") for name in "abc"]
  assert _run(jobs, 2) == dict.fromkeys("abc", runner.DONE)
  before = (tmp_path / "a" / "result.json").stat().st_mtime_ns
  assert _run(jobs, 2) == dict.fromkeys("abc", runner.DONE)
  assert (tmp_path / "a" / "result.json").stat().st_mtime_ns == before
  cell = json.loads((tmp_path / "a" / "cell.json").read_text())
  assert cell["settings"] == ["--x=1"]
  assert cell["seconds"] > 0
  assert "cores" in cell["hardware"]


def test_side_by_side_runs_share_the_cores(tmp_path):
  cores = sorted(os.sched_getaffinity(0))
  if len(cores) < 2:
    pytest.skip("needs two cores")
  _run([_job(tmp_path / name, _SUCCEED) for name in "ab"], len(cores))
  for name in "ab":
    result = json.loads((tmp_path / name / "result.json").read_text())
    assert len(result["cores"]) == 1
    assert result["threads"] == "1"
    assert "--xla_cpu_multi_thread_eigen=false" in result["xla"]
    assert result["nice"] == min(os.nice(0) + 10, 19)


def test_a_failure_is_written_down_and_the_others_go_on(tmp_path, monkeypatch):
  monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)
  jobs = [
    _job(tmp_path / "bad", "print('one'); raise ValueError('the reason')"),
    _job(tmp_path / "silent", "pass"),
    _job(tmp_path / "killed", "import os; os.kill(os.getpid(), 9)"),
    _job(tmp_path / "good", _SUCCEED),
  ]
  states = _run(jobs)
  assert states.pop("good") == runner.DONE
  assert set(states.values()) == {runner.FAILED}
  assert runner.error_of(tmp_path / "bad", []) == "ValueError: the reason"
  assert "no result.json" in runner.error_of(tmp_path / "silent", [])
  assert "SIGKILL" in runner.error_of(tmp_path / "killed", [])


def test_a_run_that_takes_too_long_has_failed(tmp_path):
  job = _job(tmp_path / "slow", "import time; time.sleep(60)")
  start = time.monotonic()
  assert _run([job], timeout_secs=0.5) == {"slow": runner.FAILED}
  assert time.monotonic() - start < 15
  assert "--cell_timeout_secs=0.5" in runner.error_of(job.folder, [])


def test_a_job_waits_for_those_before_it(tmp_path):
  jobs = [_job(tmp_path / name, _SUCCEED) for name in "ab"]

  def make_job(job):
    first_is_done = runner.state(jobs[0].folder, []) == runner.DONE
    return job if job is jobs[0] or first_is_done else None

  order = []
  processes.run(jobs, make_job, 2, lambda job, *_: order.append(job.title))
  assert order == ["a", "b"]


def test_other_settings_are_neither_run_nor_taken(tmp_path):
  _run([_job(tmp_path / "a", _SUCCEED, "--config.seed=1")])
  job = _job(tmp_path / "a", _SUCCEED, "--config.seed=2")
  assert _run([job]) == {"a": runner.OTHER}
  assert "--config.seed=1 --config.seed=2" in runner.error_of(
    job.folder, job.settings
  )


def test_only_one_table_in_a_folder(tmp_path):
  with runner.only_one(tmp_path):
    with pytest.raises(errors.UserError, match="Another process"):
      with runner.only_one(tmp_path):
        pass
  with runner.only_one(tmp_path):
    pass


def test_broken_json_names_the_file(tmp_path):
  (tmp_path / "cell.json").write_text("{")
  with pytest.raises(errors.UserError, match=r"cell\.json is not JSON"):
    runner.state(tmp_path, [])


_PARENT = """
import pathlib, sys
from benchmarks.tables import processes, runner
folder = pathlib.Path(sys.argv[1])
code = "import os, pathlib, sys, time;" \\
  "pathlib.Path(sys.argv[1], 'pid').write_text(str(os.getpid()));" \\
  "time.sleep(120)"
job = runner.Job("x", [sys.executable, "-c", code, str(folder)], [], folder)
processes.run([job], lambda job: job, 1, print)
"""


@pytest.mark.parametrize(
  "number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL]
)
def test_runs_end_with_the_table(tmp_path, number):
  if number == signal.SIGKILL and sys.platform != "linux":
    pytest.skip("only Linux ends a process with its parent")
  parent = subprocess.Popen(
    [sys.executable, "-c", _PARENT, str(tmp_path)],
    cwd=pathlib.Path(__file__).parents[2],
    stderr=subprocess.DEVNULL,
  )
  child = int(_wait_for(lambda: (tmp_path / "pid").read_text()))
  parent.send_signal(number)
  assert parent.wait(30) != 0
  _wait_for(lambda: not _is_running(child))
  # It was ended, it has not failed: it will be run again.
  assert runner.state(tmp_path, []) == runner.WAITING


def _is_running(pid):
  stat = pathlib.Path(f"/proc/{pid}/stat")
  try:
    return stat.read_text().rpartition(")")[2].split()[0] != "Z"
  except (FileNotFoundError, ProcessLookupError):
    return False


def _wait_for(read, secs=20):
  deadline = time.monotonic() + secs
  while time.monotonic() < deadline:
    try:
      if value := read():
        return value
    except OSError:
      pass
    time.sleep(0.05)
  raise AssertionError("It did not happen in time.")
