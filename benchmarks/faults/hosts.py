"""Kills, stops, disconnects and misconfigures runs of several hosts.

python -m benchmarks.faults.hosts --workdir=DIR --results=benchmarks/results

The hosts are processes on this machine. A life is one run in one folder: it
suffers a fault at each of its moments, is restarted with the same command, and
must end with the bits of an undisturbed run. A fault is
survived if all hosts end within 30 s, with the right exit code and one line
each. The same command resumes. Exits with 1 if a fault was not survived.
"""

import contextlib
import dataclasses
import datetime
import functools
import json
import pathlib
import shutil
import signal
import statistics
import time
from collections.abc import Sequence

import numpy as np
from absl import flags

from benchmarks import hardware
from benchmarks.faults import host_processes, network
from dsh_jax import errors
from dsh_jax.apps import command

_WORKDIR = flags.DEFINE_string("workdir", None, "Folder to work in.")
_RESULTS = flags.DEFINE_string(
  "results", "", "Folder to write faults_hosts.md to."
)
_COUNTS = flags.DEFINE_list("counts", ["2", "4"], "Numbers of hosts to try.")
_ONLY = flags.DEFINE_list("only", [], "Units to try, such as network; or all.")

_END_SECS = 30  # Seconds for all hosts to end after a fault.
_LIMIT_SECS = 600  # Seconds until a moment or the end of a run.
_ABSENT_SECS = 15  # Seconds to wait for a host that never starts.
_MOMENTS = (
  "start",
  "compile",
  "step",
  "validation",
  "checkpoint",
  "evaluation",
)
# Number of hosts -> (which host, signal) of each life.
_LIVES = {
  2: (
    (1, signal.SIGKILL),
    (0, signal.SIGKILL),
    (1, signal.SIGTERM),
    (0, signal.SIGTERM),
    (1, signal.SIGINT),
    (0, signal.SIGINT),
  ),
  4: ((2, signal.SIGKILL), (3, signal.SIGTERM), (0, signal.SIGINT)),
}


@dataclasses.dataclass
class Tried:
  """One fault and what came of it.

  Attributes:
    name: Class of the fault.
    secs: From the fault until all hosts have ended.
    problems: What went wrong.
  """

  name: str
  secs: float
  problems: list[str]


def _wait_for(run, moment):
  deadline = time.monotonic() + _LIMIT_SECS
  while time.monotonic() < deadline:
    with contextlib.suppress(FileNotFoundError):
      if run.has_come(moment):
        break
    time.sleep(0.002)


def _all_end(run, expected, name, secs=_END_SECS) -> Tried:
  """Wait until all hosts have ended; return the fault's outcome."""
  started = time.monotonic()
  problems = run.problems(run.wait(secs), expected)
  name = f"{len(expected)} hosts, {name}"
  return Tried(name, time.monotonic() - started, problems)


def _hurt(run, count, host, number, moment) -> Tried:
  """Send a signal to one host at a moment."""
  _wait_for(run, moment)
  expected = dict.fromkeys(range(count), errors.LostHostError.exit_code)
  expected[host] = -number
  if number != signal.SIGKILL:
    expected = dict.fromkeys(range(count), 128 + number)
  run.processes[host].send_signal(number)
  name = f"{signal.Signals(number).name} to host {host}, {moment}"
  return _all_end(run, expected, name)


def _outcome(workdir: pathlib.Path) -> dict:
  """Return the outputs, which must not depend on faults."""
  result = json.loads((workdir / "result.json").read_text())
  last = (
    workdir / f"checkpoints/{host_processes.LAST_STEP}/run_metadata/metadata"
  )
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
  """Finish the run; return its differences from an undisturbed one."""
  codes = run.wait(_LIMIT_SECS)
  problems = run.problems(codes, dict.fromkeys(codes, 0))
  if not problems:
    outcome = _outcome(run.workdir)
    problems = [
      f"other {name}"
      for name, value in expected_outcome.items()
      if outcome[name] != value
    ]
  return problems


def _live(count, folder, data, expected, host, number) -> list[Tried]:
  """Return the outcome of the faults of one life."""
  found = [
    _hurt(host_processes.Run(folder, data, count), count, host, number, moment)
    for moment in _MOMENTS
  ]
  lost = _finish(host_processes.Run(folder, data, count), expected)
  for one in found:
    one.problems += lost
  return found


def _differ(name, count, folder, data, flag) -> list[Tried]:
  """Return the outcome for hosts of which host 1 has another flag."""
  run = host_processes.Run(
    folder, data, count, lambda host: (flag,) * (host == 1)
  )
  return [_all_end(run, dict.fromkeys(range(count), 2), name, _LIMIT_SECS)]


def _join(count, folder, data) -> list[Tried]:
  """Kill a host that waits for another; then leave one out."""
  last, lost = count - 1, errors.LostHostError.exit_code
  if count > 2:  # The others wait for the last one.
    run = host_processes.Run(folder, data, count, absent=[last])
    _wait_for(run, "joining")
    run.processes[1].send_signal(signal.SIGKILL)
    expected = dict.fromkeys(range(count), lost) | {1: -signal.SIGKILL}
    return [_all_end(run, expected, "SIGKILL to host 1, joining")]
  run = host_processes.Run(
    folder,
    data,
    count,
    lambda host: (f"--initialization_timeout={_ABSENT_SECS}",),
    absent=[last],
  )
  name = f"host {last} never starts, a time-out of {_ABSENT_SECS} s"
  return [_all_end(run, dict.fromkeys(range(count), lost), name, _LIMIT_SECS)]


def _lose_network(folder, data, expected) -> list[Tried]:
  """Cut the network between two hosts, while they train and evaluate."""
  if not network.is_possible():
    print("Skipped: a lost network can be tried as root, with `ip`.")
    return []
  folder.mkdir(parents=True, exist_ok=True)
  found = []
  with network.Network(folder) as cable:

    def start():
      return host_processes.Run(
        folder, data, 2, prefix=cable.prefix, address=cable.address
      )

    for moment in ("step", "validation", "evaluation"):
      run = start()
      _wait_for(run, moment)
      cable.cut()
      codes = dict.fromkeys(range(2), errors.LostHostError.exit_code)
      found.append(_all_end(run, codes, f"network cut, {moment}"))
      cable.repair()
    lost = _finish(start(), expected)
  for one in found:
    one.problems += lost
  return found


def _units(count: int, folder: pathlib.Path, data: pathlib.Path) -> dict:
  """Return name -> function that tries some faults and returns `Tried`."""
  undisturbed = folder / "undisturbed"
  if not (undisturbed / "run" / "result.json").exists():
    if problems := _finish(host_processes.Run(undisturbed, data, count), {}):
      raise errors.UserError(f"An undisturbed run fails: {problems}.")
  expected = _outcome(undisturbed / "run")
  units = {
    f"{number.name}{host}": functools.partial(
      _live,
      count,
      folder / f"{number.name}{host}",
      data,
      expected,
      host,
      number,
    )
    for host, number in _LIVES[count]
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
  units["joining"] = functools.partial(_join, count, folder / "joining", data)
  if count == 2:
    units["views"] = functools.partial(_views, folder, data, expected)
    units["network"] = functools.partial(
      _lose_network, folder / "network", data, expected
    )
  return units


def _views(folder, data, expected) -> list[Tried]:
  """Let host 1 see a folder in which the newest checkpoint is missing."""
  life, view = folder / "views", folder / "view"
  shutil.copytree(folder / "undisturbed" / "run", life / "run")
  (life / "run" / "result.json").unlink()
  shutil.copytree(life / "run" / "checkpoints", view)
  shutil.rmtree(view / str(host_processes.LAST_STEP))
  mounted = f'mount --bind {view} {life / "run/checkpoints"} && exec "$@"'
  run = host_processes.Run(
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
    " of hosts that differ or are missing, until the last host has ended. To"
    " cut the network, each of two hosts has a network of its own, and the"
    " cable between them goes down.",
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
      skip = _ONLY.value and name not in _ONLY.value
      if skip or unit in {row["unit"] for row in rows}:
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
