"""Kills small runs at random moments and compares their results.

python -m benchmarks.faults.soak --workdir=DIR --results=benchmarks/results

A life is a run, or a table with one run, that is killed with SIGKILL several
times, at a random instant of a chosen moment, and restarted with the same
command each time. At its end, parameters, codes and scores must have the bits
of an undisturbed run. Exits with 1 if anything was lost.
"""

import contextlib
import dataclasses
import json
import os
import pathlib
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence

import numpy as np
from absl import flags
from PIL import Image

from benchmarks import hardware
from dsh_jax import errors
from dsh_jax.apps import command

_WORKDIR = flags.DEFINE_string("workdir", None, "Folder to work in; emptied.")
_RESULTS = flags.DEFINE_string("results", "", "Folder to write soak.md to.")
_FAULTS = flags.DEFINE_integer(
  "faults", 50, "How often to kill a process.", lower_bound=1
)
_SEED = flags.DEFINE_integer("seed", 0, "Seed of the random instants.")

_ROOT = pathlib.Path(__file__).parents[2]
_LIMIT_SECS = 1800  # A process that takes longer hangs.
_NUM_PICTURES = 1500

_CONFIG = "configs/listfile.py:method=idhn,bits=16,backbone=tiny,epochs=4"
_OVERRIDES = (
  "data.image_size=32",
  "data.crop_size=0",
  "data.num_train=104",
  "data.num_query=40",
  "data.num_validation=40",
  "train.batch_size=16",
  "train.validate_every_epochs=2",
  "train.checkpoint_every_steps=3",
  "train.log_every_steps=1",
  "eval.batch_size=64",
  "tensorboard=False",
)
_TABLE = """
from configs.tables import default

def get_config():
  config = default.get_config()
  config.title = "Soak"
  config.config = "configs/listfile.py"
  config.arguments = "backbone=tiny,epochs=4"
  config.overrides = {overrides}
  config.metrics = ("ndcg@100", "map@all")
  config.cells = (dict(methods=("idhn",), bits=(16,), seeds=(0,)),)
  return config
"""

# Moments at which a life is killed, in this order.
_RUN_MOMENTS = (
  "building arrays",
  "building arrays",
  "starting",
  "training",
  "writing a checkpoint",
  "training",
  "evaluating",
  "evaluating",
)
_TABLE_MOMENTS = ("training", "evaluating", "writing the table")
_ALL_MOMENTS = tuple(dict.fromkeys((*_RUN_MOMENTS, *_TABLE_MOMENTS)))


@dataclasses.dataclass
class _Count:
  """Faults at one moment: injected, and lost."""

  injected: int = 0
  lost: int = 0


class _Life:
  """A command to kill, its folder, and how to recognise its moments."""

  def __init__(self, folder: pathlib.Path, shared: pathlib.Path, table: bool):
    self.folder = folder
    folder.mkdir(parents=True)
    data = folder / "data"
    if table:
      overrides = (*_data_options(shared), f"data.dir={data}", *_OVERRIDES)
      config = folder / "table.py"
      config.write_text(_TABLE.format(overrides=overrides))
      self.workdir = folder / "table"
      self.arguments = ["benchmarks.tables", f"--config={config}"]
    else:
      overrides = (*_data_options(shared), f"data.dir={data}", *_OVERRIDES)
      self.workdir = folder / "run"
      self.arguments = ["dsh_jax.main", f"--config={_CONFIG}", "--noreport"]
      self.arguments += [f"--config.{override}" for override in overrides]
    self.arguments += [f"--workdir={self.workdir}"]
    self.moments = _TABLE_MOMENTS if table else _RUN_MOMENTS
    self._data = data
    self.environment = os.environ | {
      "JAX_COMPILATION_CACHE_DIR": str(shared / "compiled"),
      "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
      "TF_CPP_MIN_LOG_LEVEL": "3",
      "XLA_FLAGS": "--xla_backend_optimization_level=0",
    }

  def start(self) -> subprocess.Popen:
    """Start the command once more; what it prints goes to log.txt."""
    with open(self.folder / "log.txt", "ab") as log:
      return subprocess.Popen(
        [sys.executable, "-m", *self.arguments],
        cwd=_ROOT,
        env=self.environment,
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=subprocess.STDOUT,
      )

  def run_folder(self) -> pathlib.Path | None:
    """Return the folder of the run itself, if it exists."""
    if self.moments is _RUN_MOMENTS:
      return self.workdir if self.workdir.exists() else None
    found = [path.parent for path in self.workdir.glob("*/*/*/config.json")]
    return found[0] if found else None

  def make_watch(self, moment: str, rng: random.Random) -> Callable[[], bool]:
    """Return a predicate for whether the moment has come."""
    if moment == "starting":
      instant = time.monotonic() + rng.uniform(0, 3)
      return lambda: time.monotonic() > instant
    if moment == "building arrays":
      before = self._has_arrays()
      return lambda: (
        not before
        and any(self._data.glob("*/*.partial"))
        or (not before and any(self._data.glob("*/**/*incomplete*")))
      )
    if moment == "training":
      line = len(self._log_lines()) + rng.randint(1, 4)
      return lambda: len(self._log_lines()) >= line
    if moment == "writing a checkpoint":
      return lambda: any(self._checkpoints("*-tmp"))
    if moment == "evaluating":
      if any(self._checkpoints("16")):  # After the imports.
        instant = time.monotonic() + rng.uniform(1, 8)
        return lambda: time.monotonic() > instant
      return lambda: any(self._checkpoints("16"))
    before = self._stamps()
    return lambda: self._stamps() != before

  def _has_arrays(self):
    return any(self._data.glob("arrays/*/info.json"))

  def _checkpoints(self, pattern):
    run = self.run_folder()
    return run.glob(f"checkpoints/{pattern}") if run else ()

  def _log_lines(self):
    run = self.run_folder()
    try:
      return (run / "metrics.jsonl").read_bytes().splitlines()
    except (OSError, TypeError):
      return []

  def _stamps(self):
    found = {}
    for path in self.workdir.glob("table.*"):
      with contextlib.suppress(OSError):
        found[path.name] = path.stat().st_mtime_ns
    return found

  def is_done(self, moment: str) -> bool:
    """Return whether the moment has passed."""
    run = self.run_folder()
    ended = run is not None and (run / "result.json").exists()
    return ended and moment != "writing the table"


def _data_options(shared):
  return (f"data.manual_dir={shared}", f"data.csv={shared / 'pictures.csv'}")


def _write_pictures(shared: pathlib.Path) -> None:
  """Write pictures whose brightness in each channel is a label."""
  rng = np.random.default_rng(0)
  lines = []
  for index in range(_NUM_PICTURES):
    present = rng.random(3) < 0.5
    pixels = rng.integers(0, 120, (40, 40, 3)) + 120 * present
    name = f"{index:04d}.png"
    Image.fromarray(pixels.astype(np.uint8)).save(shared / name)
    labels = [f"bright{channel}" for channel in np.flatnonzero(present)]
    lines.append(f"{name},{';'.join(labels) or 'dark'}")
  (shared / "pictures.csv").write_text("\n".join(lines) + "\n")


def _kill(life: _Life, moment: str, rng: random.Random) -> bool:
  """Start the command and kill it; False if the moment did not come."""
  process = life.start()
  has_come = life.make_watch(moment, rng)
  deadline = time.monotonic() + _LIMIT_SECS
  came = False
  while not came and process.poll() is None and time.monotonic() < deadline:
    with contextlib.suppress(FileNotFoundError):  # Renamed meanwhile.
      came = has_come()
    time.sleep(0.002)
  # A random delay, often 0.
  time.sleep(rng.choice((0, 0.01, 0.1, 0.5)) * rng.random())
  if process.poll() is None:
    process.send_signal(signal.SIGKILL)
  process.wait()
  return came and process.returncode == -signal.SIGKILL


def _finish(life: _Life) -> None:
  """Let the command end.

  Raises:
    UserError: It fails or hangs.
  """
  process = life.start()
  try:
    code = process.wait(_LIMIT_SECS)
  except subprocess.TimeoutExpired:
    process.kill()
    code = "none, it hangs"
  if code != 0:
    raise errors.UserError(f"Exit code {code}; see {life.folder}/log.txt.")


def _outcome(life: _Life) -> dict:
  """Return the outputs, which must not depend on faults."""
  run = life.run_folder()
  result = json.loads((run / "result.json").read_text())
  metadata = json.loads(
    (run / "checkpoints/16/run_metadata/metadata").read_text()
  )
  with np.load(run / "codes.npz", allow_pickle=False) as saved:
    codes = {name: saved[name].tolist() for name in saved.files}
  table = life.workdir / "table.csv"
  rows = table.read_text().splitlines() if table.exists() else []
  return {
    "parameters": metadata["sha256"],
    "codes": codes,
    "scores": {
      name: result[name]
      for name in ("metrics", "validation", "counts", "selected_step")
    },
    "log": _scalars(run / "metrics.jsonl"),
    "table": [row.rpartition(",")[0] for row in rows],  # Last are seconds.
  }


def _scalars(path: pathlib.Path) -> list[dict]:
  """Return the lines of a log without times and memory."""
  lines = map(json.loads, path.read_text().splitlines())
  return [
    {name: x for name, x in line.items() if not name.startswith("perf/")}
    for line in lines
  ]


def _different(outcome: dict, expected: dict) -> list[str]:
  return [name for name in expected if outcome[name] != expected[name]]


def _table(counts: dict[str, _Count], secs: float, num_lives: int) -> str:
  lines = [
    "# Killed at random moments",
    "",
    f"`python -m benchmarks.faults.soak --faults={_FAULTS.value}"
    f" --seed={_SEED.value}` on {hardware.describe()}, commit"
    f" {hardware.commit()}, {secs / 60:.0f} minutes, {num_lives} lives.",
    "",
    "Each fault is SIGKILL to the process, followed by the same command. A"
    " fault is survived if the life that it was part of ended with the"
    " parameters, codes, scores, log and table of a life without faults, bit"
    " for bit.",
    "",
    "| Killed while | faults injected | survived | lost |",
    "| --- | ---: | ---: | ---: |",
  ]
  total = _Count(
    sum(count.injected for count in counts.values()),
    sum(count.lost for count in counts.values()),
  )
  for name, count in (*counts.items(), ("**all**", total)):
    survived = count.injected - count.lost
    lines.append(f"| {name} | {count.injected} | {survived} | {count.lost} |")
  return "\n".join(lines) + "\n"


def _run(argv: Sequence[str]) -> int:
  """Run lives until enough faults were injected."""
  command.parse(argv, description=__doc__)
  if not _WORKDIR.value:
    raise errors.UserError("No folder was given. Give one by --workdir=DIR.")
  workdir = pathlib.Path(_WORKDIR.value).absolute()
  if workdir.exists() and any(workdir.iterdir()):
    raise errors.UserError(
      f"--workdir={workdir} is not empty. Give a new folder."
    )
  shared = workdir / "shared"
  shared.mkdir(parents=True)
  _write_pictures(shared)
  rng = random.Random(_SEED.value)
  started = time.monotonic()
  expected = {}
  for is_table in (False, True):
    life = _Life(workdir / f"undisturbed{int(is_table)}", shared, is_table)
    _finish(life)
    expected[is_table] = _outcome(life)
  counts = {moment: _Count() for moment in _ALL_MOMENTS}
  injected, num_lives = 0, 0
  while injected < _FAULTS.value:
    is_table = num_lives % 4 == 3
    life = _Life(workdir / f"life{num_lives:03d}", shared, is_table)
    num_lives += 1
    suffered = []
    for moment in life.moments:
      if injected == _FAULTS.value or life.is_done(moment):
        continue
      if _kill(life, moment, rng):
        suffered.append(moment)
        injected += 1
    try:
      _finish(life)
      lost = _different(_outcome(life), expected[is_table])
    except (errors.UserError, OSError, ValueError, KeyError) as error:
      lost = [str(error)]
    for moment in suffered:
      counts[moment].injected += 1
      counts[moment].lost += bool(lost)
    print(f"{life.folder.name}: {', '.join(suffered)}: {lost or 'same'}")
  text = _table(counts, time.monotonic() - started, num_lives)
  print(text)
  if _RESULTS.value:
    pathlib.Path(_RESULTS.value, "soak.md").write_text(text)
  return int(any(count.lost for count in counts.values()))


if __name__ == "__main__":
  command.run(_run)
