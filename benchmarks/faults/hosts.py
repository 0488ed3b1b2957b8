"""Runs of several hosts that are killed, stopped, or started differently.

python -m benchmarks.faults.hosts --workdir=DIR --results=benchmarks/results

The hosts are processes on this machine. A life is one run in one folder: it
suffers a fault at each of its moments, gets the same command again each time,
and must end with the bits of a run that nothing happened to. A fault is
survived if all hosts end within 30 s, with the right exit code and one line
each. The same command continues; it exits with 1 if a fault was not survived.
"""

import contextlib
import dataclasses
import datetime
import functools
import json
import os
import pathlib
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence

import numpy as np
from absl import flags

from benchmarks import hardware
from dsh_jax import errors
from dsh_jax.apps import command

_WORKDIR = flags.DEFINE_string("workdir", None, "Folder to work in.")
_RESULTS = flags.DEFINE_string(
  "results", "", "Folder to write faults_hosts.md to."
)
_COUNTS = flags.DEFINE_list("counts", ["2", "4"], "Numbers of hosts to try.")

_ROOT = pathlib.Path(__file__).parents[2]
_END_SECS = 30  # For all hosts to end after a fault.
_LIMIT_SECS = 600  # For a moment to come, or a run to end.
_NUM_DEVICES = 4  # Over all hosts.
_LAST_STEP = 30
_ARGUMENTS = (
  "--config=configs/digits.py:method=idhn,bits=16,epochs=10,start=cold",
  "--config.data.num_train=48",
  "--config.data.num_validation=40",
  "--config.data.num_query=40",
  "--config.data.num_database=120",
  "--config.data.image_size=32",
  "--config.train.batch_size=16",
  "--config.train.validate_every_epochs=5",
  "--config.train.checkpoint_every_steps=4",
  "--config.train.log_every_steps=1",
  "--config.eval.batch_size=4",
  "--config.parallel=jit",
  "--config.tensorboard=False",
  "--noreport",
)
_MOMENTS = ("start", "compile", "step", "checkpoint", "evaluation")
_NAMES = {signal.SIGKILL: "SIGKILL", signal.SIGTERM: "SIGTERM"}
# By number of hosts: (which host, signal, moments) of each life.
_LIVES = {
  2: (
    (1, signal.SIGKILL, _MOMENTS),
    (0, signal.SIGKILL, _MOMENTS),
    (1, signal.SIGTERM, _MOMENTS),
  ),
  4: (
    (2, signal.SIGKILL, ("start", "step")),
    (3, signal.SIGTERM, ("step",)),
  ),
}


@dataclasses.dataclass
class Tried:
  """One fault and what came of it.

  Attributes:
    name: Class of the fault.
    secs: From the fault until all hosts have ended.
    problems: What was not as it must be.
  """

  name: str
  secs: float
  problems: list[str]


class Run:
  """The hosts of one command, each with its own log."""

  def __init__(
    self,
    folder: pathlib.Path,
    data: pathlib.Path,
    count: int,
    extra: Callable[[int], Sequence[str]] = lambda host: (),
    prefix: Callable[[int], Sequence[str]] = lambda host: (),
  ):
    """Start them.

    Args:
      folder: Of the run and the logs.
      data: Of the images.
      count: Number of hosts.
      extra: Host -> flags of its own.
      prefix: Host -> command that starts its command.
    """
    folder.mkdir(parents=True, exist_ok=True)
    self.workdir = folder / "run"
    self._logs = [folder / f"host{host}.txt" for host in range(count)]
    with socket.socket() as free:
      free.bind(("127.0.0.1", 0))
      port = free.getsockname()[1]
    environment = os.environ | {
      "JAX_PLATFORMS": "cpu",
      "JAX_ENABLE_COMPILATION_CACHE": "false",
      "XLA_FLAGS": "--xla_backend_optimization_level=0"
      " --xla_cpu_use_fusion_emitters=false"
      f" --xla_force_host_platform_device_count={_NUM_DEVICES // count}",
    }
    self.processes = []
    for host, log in enumerate(self._logs):
      with open(log, "wb") as file:
        arguments = [
          *prefix(host),
          sys.executable,
          "-m",
          "dsh_jax.main",
          *_ARGUMENTS,
          f"--config.data.dir={data}",
          f"--workdir={self.workdir}",
          "--distributed",
          f"--coordinator=127.0.0.1:{port}",
          f"--num_processes={count}",
          f"--process_id={host}",
          *extra(host),
        ]
        self.processes.append(
          subprocess.Popen(
            arguments,
            cwd=_ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=file,
          )
        )

  def wait(self, secs: float) -> list[int | str]:
    """Return the exit codes of all; those that take longer are killed."""
    until = time.monotonic() + secs
    codes = []
    for process in self.processes:
      try:
        codes.append(process.wait(max(0.01, until - time.monotonic())))
      except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        codes.append("none")
    return codes

  def has_come(self, moment: str) -> bool:
    """Whether a moment of the run has come."""
    if moment == "start":
      return self.workdir.exists()
    if moment == "compile":  # A run that begins makes data.json before.
      return b"Data:" in self._logs[0].read_bytes()
    names = [path.name for path in (self.workdir / "checkpoints").iterdir()]
    if moment == "step":
      return b"\nstep " in self._logs[0].read_bytes()
    if moment == "checkpoint":
      return any("-tmp" in name for name in names)
    return str(_LAST_STEP) in names

  def problems(self, codes: list, expected: Sequence[int]) -> list[str]:
    """Return what is wrong with how the hosts ended."""
    found = []
    for host, (code, wanted) in enumerate(zip(codes, expected, strict=True)):
      text = self._logs[host].read_text(errors="replace")
      lines = [x for x in text.splitlines() if x.startswith("dsh_jax: ")]
      if code != wanted:
        found.append(f"host {host} has exit code {code}, not {wanted}")
      if wanted > 0 and (len(lines) != 1 or "Traceback" in text):
        found.append(f"host {host} says {lines or text[-300:]!r}")
    return found


def _hurt(run, host, number, moment) -> Tried:
  """Sends a signal to one host at a moment."""
  deadline = time.monotonic() + _LIMIT_SECS
  while time.monotonic() < deadline:
    with contextlib.suppress(FileNotFoundError):
      if run.has_come(moment):
        break
    time.sleep(0.002)
  count = len(run.processes)
  expected = [errors.LOST_HOST] * count
  expected[host] = -number
  if number != signal.SIGKILL:
    expected = [128 + number] * count
  run.processes[host].send_signal(number)
  started = time.monotonic()
  problems = run.problems(run.wait(_END_SECS), expected)
  name = f"{count} hosts, {_NAMES[number]} to host {host}"
  return Tried(f"{name}, {moment}", time.monotonic() - started, problems)


def _outcome(workdir: pathlib.Path) -> dict:
  """Returns what must not depend on what happened."""
  result = json.loads((workdir / "result.json").read_text())
  last = workdir / f"checkpoints/{_LAST_STEP}/run_metadata/metadata"
  with np.load(workdir / "codes.npz", allow_pickle=False) as saved:
    codes = {name: saved[name].tolist() for name in saved.files}
  log = [
    {name: x for name, x in json.loads(line).items() if name[:5] != "perf/"}
    for line in (workdir / "metrics.jsonl").read_text().splitlines()
  ]
  return {
    "metrics": result["metrics"],
    "weights": json.loads(last.read_text())["sha256"],
    "codes": codes,
    "log": log,
  }


def _finish(run, expected_outcome) -> list[str]:
  """Returns what differs from an undisturbed run when this one has ended."""
  problems = run.problems(run.wait(_LIMIT_SECS), [0] * len(run.processes))
  if not problems:
    outcome = _outcome(run.workdir)
    problems = [
      f"other {name}"
      for name, value in expected_outcome.items()
      if outcome[name] != value
    ]
  return problems


def _live(count, folder, data, expected, life) -> list[Tried]:
  """Returns what came of the faults of one life."""
  host, signal_number, moments = life
  found = [
    _hurt(Run(folder, data, count), host, signal_number, moment)
    for moment in moments
  ]
  lost = _finish(Run(folder, data, count), expected)
  for one in found:
    one.problems += lost
  return found


def _differ(name, count, folder, data, flag) -> list[Tried]:
  """Returns what came of hosts of which host 1 has another flag."""
  started = time.monotonic()
  run = Run(folder, data, count, lambda host: (flag,) * (host == 1))
  problems = run.problems(run.wait(_LIMIT_SECS), [2] * count)
  return [Tried(f"{count} hosts, {name}", time.monotonic() - started, problems)]


def _units(count: int, folder: pathlib.Path, data: pathlib.Path) -> dict:
  """Returns name -> function that tries some faults and returns `Tried`."""
  undisturbed = folder / "undisturbed"
  if not (undisturbed / "run" / "result.json").exists():
    if problems := _finish(Run(undisturbed, data, count), {}):
      raise errors.UserError(f"An undisturbed run fails: {problems}.")
  expected = _outcome(undisturbed / "run")
  units = {
    f"life{number}": functools.partial(
      _live, count, folder / f"life{number}", data, expected, life
    )
    for number, life in enumerate(_LIVES[count])
  }
  different = {
    "another learning rate": "--config.optimizer.learning_rate=0.1",
    "one refuses to start": "--config.bits=0",
    "a folder of its own": f"--workdir={folder / 'own'}",
  }
  for name, flag in different.items():
    units[name] = functools.partial(
      _differ, name, count, folder / name, data, flag
    )
  if count == 2:
    units["views"] = functools.partial(_views, folder, data, expected)
  return units


def _views(folder, data, expected) -> list[Tried]:
  """Lets host 1 see a folder in which the newest checkpoint is missing."""
  life, view = folder / "views", folder / "view"
  shutil.copytree(folder / "undisturbed" / "run", life / "run")
  (life / "run" / "result.json").unlink()
  shutil.copytree(life / "run" / "checkpoints", view)
  shutil.rmtree(view / str(_LAST_STEP))
  mounted = f'mount --bind {view} {life / "run/checkpoints"} && exec "$@"'
  run = Run(
    life,
    data,
    2,
    prefix=lambda host: (
      ("unshare", "-rm", "sh", "-c", mounted, "sh") if host else ()
    ),
  )
  started = time.monotonic()
  problems = _finish(run, expected)
  return [Tried("2 hosts, views differ", time.monotonic() - started, problems)]


def _table(tried: Sequence[Tried]) -> str:
  classes: dict[str, list[Tried]] = {}
  for one in tried:
    classes.setdefault(one.name, []).append(one)
  lines = [
    "# Faults of several hosts",
    "",
    f"`python -m benchmarks.faults.hosts` on {hardware.describe()},"
    f" {datetime.date.today()}. The hosts are processes.",
    "",
    "Killed and stopped runs get the same command again until they end; a"
    " fault is survived if all hosts ended within 30 s, each with one line and"
    " the right exit code, and the run has the parameters, codes, scores and"
    " log of an undisturbed one, bit for bit. Hosts that differ must all end"
    " with code 2; if one host does not see the newest checkpoint, all must"
    " resume from the one before. Seconds are from the fault, or from the start"
    " of hosts that differ, until the last host has ended.",
    "",
    "| class | tried | survived | seconds |",
    "| --- | ---: | ---: | ---: |",
  ]
  for name, ones in classes.items():
    survived = sum(not one.problems for one in ones)
    middle = statistics.median(one.secs for one in ones)
    lines.append(f"| {name} | {len(ones)} | {survived} | {middle:.1f} |")
  survived = sum(not one.problems for one in tried)
  lines.append(f"| **all** | {len(tried)} | {survived} | |")
  return "\n".join(lines) + "\n"


def _run(argv: Sequence[str]) -> int:
  command.parse(argv, None, __doc__)
  if not _WORKDIR.value:
    raise errors.UserError("No folder was given. Give one by --workdir=DIR.")
  folder = pathlib.Path(_WORKDIR.value).absolute()
  folder.mkdir(parents=True, exist_ok=True)
  record = folder / "tried.jsonl"
  rows = []
  if record.exists():
    rows = [json.loads(line) for line in record.read_text().splitlines()]
  for count in map(int, _COUNTS.value):
    units = _units(count, folder / f"hosts{count}", folder / "data")
    for name, attempt in units.items():
      unit = f"{count} {name}"
      if unit in {row["unit"] for row in rows}:
        continue
      found = [{"unit": unit} | dataclasses.asdict(one) for one in attempt()]
      with open(record, "a") as file:
        file.writelines(json.dumps(row) + "\n" for row in found)
      print(*found, sep="\n", flush=True)
      rows += found
  tried = [Tried(row["name"], row["secs"], row["problems"]) for row in rows]
  text = _table(tried)
  print(text)
  if _RESULTS.value:
    pathlib.Path(_RESULTS.value, "faults_hosts.md").write_text(text)
  return int(any(one.problems for one in tried))


if __name__ == "__main__":
  command.run(_run)
