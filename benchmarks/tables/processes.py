"""Runs commands side by side, each a process with its share of the cores."""

import contextlib
import dataclasses
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable

from benchmarks import hardware
from benchmarks.tables import runner

_POLL_SECS = 0.2
_GRACE_SECS = 20  # Seconds between SIGTERM and SIGKILL.


@dataclasses.dataclass
class _Running:
  job: runner.Job
  process: subprocess.Popen
  slot: int
  start: float


def run(
  items: Iterable,
  make_job: Callable[[object], runner.Job | str | None],
  num_jobs: int,
  after_each: Callable[[runner.Job, str, float], None],
  timeout_secs: float = 0,
) -> None:
  """Run a list of things, some at a time, in order where possible.

  A failed run is recorded and the others continue. Whatever ends this function
  ends the runs it has started.

  Args:
    items: Things to run.
    make_job: Item -> its job; None while it has to wait for another one, or
      runner.NOT_NEEDED.
    num_jobs: Runs at a time; each has its own share of the cores.
    after_each: Called with the job, its state and its seconds.
    timeout_secs: A run that takes longer has failed; 0 is no limit.
  """
  pending = list(items)
  shares = _share(hardware.cores(), num_jobs)
  running: list[_Running] = []
  try:
    with _signals_as_exceptions():
      while pending or running:
        free = set(range(num_jobs)) - {one.slot for one in running}
        while free and (job := runner.next_job(pending, make_job)):
          if runner.state(job.folder, job.settings) != runner.WAITING:
            after_each(job, runner.state(job.folder, job.settings), 0.0)
            continue
          slot = min(free)
          free.remove(slot)
          running.append(_start(job, slot, shares[slot], num_jobs))
        if not running and pending:
          raise RuntimeError(f"Nothing can start: {pending[0]} waits.")
        time.sleep(_POLL_SECS)
        for one in list(running):
          if _ended(one, timeout_secs):
            running.remove(one)
            secs = time.monotonic() - one.start
            job = one.job
            after_each(job, runner.state(job.folder, job.settings), secs)
  finally:
    _end_all(running)


def _share(cores, num_jobs):
  """Split the cores evenly; with more jobs than cores, some share one."""
  if num_jobs == 1:
    return [[]]
  if num_jobs >= len(cores):
    return [[cores[slot % len(cores)]] for slot in range(num_jobs)]
  return [cores[slot::num_jobs] for slot in range(num_jobs)]


def _environment(cores, num_jobs):
  # Unbuffered, so that the last line of the log is the reason for a failure.
  environment = os.environ | {"PYTHONUNBUFFERED": "1"}
  if cores:
    threads = str(len(cores))
    for name in ("OMP", "OPENBLAS", "MKL", "NUMBA"):
      environment[f"{name}_NUM_THREADS"] = threads
    if len(cores) == 1:
      flags = environment.get("XLA_FLAGS", "")
      environment["XLA_FLAGS"] = (
        f"{flags} --xla_cpu_multi_thread_eigen=false".strip()
      )
    # Only used with a GPU, which the runs then share.
    environment.setdefault(
      "XLA_PYTHON_CLIENT_MEM_FRACTION", f"{0.9 / num_jobs:.3f}"
    )
  return environment


def _start(job, slot, cores, num_jobs):
  runner.write_cell(job, cores)
  child = [sys.executable, "-m", "benchmarks.tables.child", str(os.getpid())]
  child += [",".join(map(str, cores)), *job.command]
  with open(job.folder / "log.txt", "ab") as log:
    process = subprocess.Popen(
      child,
      stdin=subprocess.DEVNULL,
      stdout=log,
      stderr=subprocess.STDOUT,
      env=_environment(cores, num_jobs),
      start_new_session=True,  # So that it can be ended with its children.
    )
  return _Running(job, process, slot, time.monotonic())


def _ended(one, timeout_secs):
  """Return whether the run has ended; record it if it has."""
  code = one.process.poll()
  secs = time.monotonic() - one.start
  folder = one.job.folder
  if code is None:
    if not timeout_secs or secs < timeout_secs:
      return False
    _end_all([one])
    error = f"It took longer than --cell_timeout_secs={timeout_secs:g}."
  elif code == 0 and (folder / "result.json").exists():
    runner.write_secs(one.job, secs)
    return True
  else:
    error = _last_line(folder / "log.txt")
    if code < 0:
      error = f"Ended by {signal.Signals(-code).name}. {error}".strip()
    elif code == 0:
      error = f"It ended well but wrote no result.json. {error}".strip()
  runner.write_failure(one.job, error, code, secs)
  return True


def _last_line(path):
  with open(path, "rb") as file:
    file.seek(max(0, path.stat().st_size - 65536))
    text = file.read().decode(errors="replace")
  lines = [line.strip() for line in text.replace("\r", "\n").splitlines()]
  lines = [line for line in lines if line] or ["It printed nothing."]
  return lines[-1]


def _end_all(running):
  def send(signal_number):
    for one in running:
      with contextlib.suppress(ProcessLookupError):
        os.killpg(one.process.pid, signal_number)

  send(signal.SIGTERM)
  deadline = time.monotonic() + _GRACE_SECS
  for one in running:
    with contextlib.suppress(subprocess.TimeoutExpired):
      one.process.wait(max(0.0, deadline - time.monotonic()))
  send(signal.SIGKILL)  # Also processes that a run has left behind.
  for one in running:
    one.process.wait()


@contextlib.contextmanager
def _signals_as_exceptions():
  """Let SIGTERM pass through `finally`, as SIGINT does."""
  if threading.current_thread() is not threading.main_thread():
    yield
    return

  def stop(number, frame):
    raise SystemExit(128 + number)

  before = signal.signal(signal.SIGTERM, stop)
  try:
    yield
  finally:
    signal.signal(signal.SIGTERM, before)
