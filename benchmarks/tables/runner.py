"""Runs commands side by side, each with a folder that tells how it went.

Of a run, its folder holds:
  cell.json    what it was asked to be, on which machine, how long it took
  log.txt      all that it printed
  result.json  written by the run itself, last: the run is done
  failed.json  written here: why it is not
"""

import contextlib
import dataclasses
import fcntl
import json
import os
import pathlib
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator

from benchmarks import hardware
from dsh_jax import errors

DONE, FAILED, WAITING, OTHER = "done", "failed", "to do", "other settings"
NOT_NEEDED = "not needed"

_POLL_SECS = 0.2
_GRACE_SECS = 20  # Between asking a run to end and making it.
_MAX_ERROR = 300  # Characters of an error that are kept.


@dataclasses.dataclass(frozen=True)
class Job:
  """A command to run.

  Attributes:
    title: One phrase for the log.
    command: The command; it is done when it has written result.json.
    settings: What tells it from other commands that could use its folder.
    folder: Its folder.
  """

  title: str
  command: list[str]
  settings: list[str]
  folder: pathlib.Path


@dataclasses.dataclass
class _Running:
  job: Job
  process: subprocess.Popen
  slot: int
  start: float


def read_json(path: pathlib.Path) -> dict:
  """Return the object in a file, {} when there is no such file.

  Raises:
    UserError: The file is not JSON.
  """
  try:
    return json.loads(path.read_text())
  except FileNotFoundError:
    return {}
  except ValueError as error:
    raise errors.UserError(
      f"{path} is not JSON ({error}); remove its folder to run the cell again."
    ) from None


def write_json(path: pathlib.Path, content: dict) -> None:
  """Write a file that is there whole or not at all."""
  temporary = path.with_name(path.name + ".tmp")
  temporary.write_text(json.dumps(content, indent=1) + "\n")
  temporary.replace(path)


def state(folder: pathlib.Path, settings: list[str]) -> str:
  """Return DONE, FAILED, WAITING, or OTHER for a folder of other settings."""
  made_with = read_json(folder / "cell.json").get("settings", settings)
  done = (folder / "result.json").exists()
  if made_with != settings and (done or (folder / "checkpoints").exists()):
    return OTHER
  if done:
    return DONE
  return FAILED if (folder / "failed.json").exists() else WAITING


def error_of(folder: pathlib.Path, settings: list[str]) -> str:
  """Return one line on why the folder has no result for these settings."""
  if state(folder, settings) == OTHER:
    made_with = read_json(folder / "cell.json")["settings"]
    changed = set(made_with) ^ set(settings)
    return (
      f"The folder holds a run with other settings"
      f" ({' '.join(sorted(changed))}); remove it or use another --workdir."
    )
  return read_json(folder / "failed.json").get("error", "")


def forget_failures(workdir: pathlib.Path) -> None:
  """Give every failed run below a folder another chance."""
  for path in workdir.glob("**/failed.json"):
    path.unlink()


def write_cell(job: Job, cores: list[int]) -> None:
  """Write what a run is asked to be, in its folder, which is made.

  Args:
    job: The run.
    cores: Numbers of its cores; [] for all of this process.
  """
  job.folder.mkdir(parents=True, exist_ok=True)
  write_json(
    job.folder / "cell.json",
    {
      "settings": job.settings,
      "hardware": hardware.describe(),
      "cores": len(cores) or hardware.num_cores(),
      "commit": hardware.commit(),
    },
  )


def write_secs(job: Job, secs: float) -> None:
  """Add to what `write_cell` wrote how long the run took."""
  cell = read_json(job.folder / "cell.json")
  write_json(job.folder / "cell.json", cell | {"seconds": secs})


def write_failure(job: Job, error: str, code: int, secs: float) -> None:
  """Write that a run has failed.

  Args:
    job: The run.
    error: Why, in a line.
    code: Exit code, negative for the number of a signal.
    secs: How long it took.
  """
  write_json(
    job.folder / "failed.json",
    {"error": error[:_MAX_ERROR], "returncode": code, "seconds": secs},
  )


@contextlib.contextmanager
def only_one(workdir: pathlib.Path, name: str = "lock") -> Iterator[None]:
  """Hold the folder against a second table.

  Args:
    workdir: The folder.
    name: Of the file that is locked; parts of a table have each their own.

  Raises:
    UserError: Another process holds it.
  """
  workdir.mkdir(parents=True, exist_ok=True)
  with open(workdir / name, "w") as file:
    try:
      fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
      raise errors.UserError(
        f"Another process is filling {workdir}; wait for it, read it with"
        " --report_only, or use another --workdir."
      ) from None
    yield


def run(
  items: Iterable,
  make_job: Callable[[object], Job | str | None],
  num_jobs: int,
  after_each: Callable[[Job, str, float], None],
  timeout_secs: float = 0,
) -> None:
  """Run a list of things, some at a time, in order where possible.

  A run that fails is written down and the others go on. Whatever ends this
  function ends the runs it has started.

  Args:
    items: Things to run.
    make_job: Item -> its job; None while it has to wait for another one, or
      NOT_NEEDED.
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
        while free and (job := next_job(pending, make_job)):
          if state(job.folder, job.settings) != WAITING:
            after_each(job, state(job.folder, job.settings), 0.0)
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
            after_each(one.job, state(one.job.folder, one.job.settings), secs)
  finally:
    _end_all(running)


def next_job(
  pending: list, make_job: Callable[[object], Job | str | None]
) -> Job | None:
  """Take the first thing off a list that can be run.

  Args:
    pending: Things to run; those that are not needed are taken off as well.
    make_job: As of `run`.

  Returns:
    Its job; None if all that are left have to wait.
  """
  index = 0
  while index < len(pending):
    job = make_job(pending[index])
    if job is None:
      index += 1
      continue
    del pending[index]
    if job != NOT_NEEDED:
      return job
  return None


def _share(cores, num_jobs):
  """Split the cores evenly; with more jobs than cores some share one."""
  if num_jobs == 1:
    return [[]]
  if num_jobs >= len(cores):
    return [[cores[slot % len(cores)]] for slot in range(num_jobs)]
  return [cores[slot::num_jobs] for slot in range(num_jobs)]


def _environment(cores, num_jobs):
  # Unbuffered, so that the last line of the log is the reason of a failure.
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
    # Only read where there is a GPU, which the runs then share.
    environment.setdefault(
      "XLA_PYTHON_CLIENT_MEM_FRACTION", f"{0.9 / num_jobs:.3f}"
    )
  return environment


def _start(job, slot, cores, num_jobs):
  write_cell(job, cores)
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
  """Whether the run has ended, written down if it has."""
  code = one.process.poll()
  secs = time.monotonic() - one.start
  folder = one.job.folder
  if code is None:
    if not timeout_secs or secs < timeout_secs:
      return False
    _end_all([one])
    error = f"It took longer than --cell_timeout_secs={timeout_secs:g}."
  elif code == 0 and (folder / "result.json").exists():
    write_secs(one.job, secs)
    return True
  else:
    error = _last_line(folder / "log.txt")
    if code < 0:
      error = f"Ended by {signal.Signals(-code).name}. {error}".strip()
    elif code == 0:
      error = f"It ended well but wrote no result.json. {error}".strip()
  write_failure(one.job, error, code, secs)
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
  send(signal.SIGKILL)  # Also what a run has left behind.
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
