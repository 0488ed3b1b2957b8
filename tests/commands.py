"""The command line as real processes, and a small run that ends in seconds."""

import contextlib
import fcntl
import functools
import json
import os
import pathlib
import subprocess
import sys
import time

import numpy as np

ROOT = pathlib.Path(__file__).parents[1]

# Four epochs of four steps, a validation each second one, and checkpoints in
# between.
SMALL = (
  "--config=configs/digits.py:method=idhn,bits=16,epochs=4",
  # A start that takes no training before.
  "--config.model.pretrained=",
  "--config.optimizer.multipliers=()",
  "--config.optimizer.learning_rate=0.01",
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
  "--config.tensorboard=False",
  "--noreport",
)
# The same with all that is left out of it to save time.
WHOLE = (
  *SMALL,
  "--config.tensorboard=True",
  "--config.profile=(6,7)",
  "--report",
)


class Commands:
  """Starts the command with one cache of data and of compiled programs."""

  def __init__(self, folder: pathlib.Path, cache: pathlib.Path):
    """Keep the run of `finished` in one folder, the caches in another."""
    self.folder = folder
    folder.mkdir(parents=True, exist_ok=True)
    self.data_dir = str(pathlib.Path(cache, "dsh_jax"))
    kept = {
      name: value
      for name, value in os.environ.items()
      if not name.startswith(("JAX_", "TF_", "XLA_"))
    }
    self.environment = kept | {
      "XDG_CACHE_HOME": str(cache),
      "JAX_PLATFORMS": "cpu",
      "JAX_COMPILATION_CACHE_DIR": str(pathlib.Path(cache, "compiled")),
      "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
      # Compiles in less time, and in another way than the tests' own process.
      "XLA_FLAGS": "--xla_backend_optimization_level=0"
      " --xla_cpu_use_fusion_emitters=false",
    }

  def start(
    self, *arguments, module="dsh_jax.main", environment=None, **options
  ):
    """Start a command; the caller waits for it."""
    return subprocess.Popen(
      [sys.executable, "-m", module, *map(str, arguments)],
      cwd=ROOT,
      env=self.environment | (environment or {}),
      stdout=subprocess.PIPE,
      stderr=subprocess.PIPE,
      text=True,
      **options,
    )

  def run(self, *arguments, **options):
    """Return (exit code, standard output, standard error)."""
    process = self.start(*arguments, **options)
    out, err = process.communicate(timeout=300)
    return process.returncode, out, err

  def run_forked(self, many, module="dsh_jax.main"):
    """Return what `run` returns for each of many lists of arguments."""
    process = subprocess.run(
      [
        sys.executable,
        str(pathlib.Path(__file__).with_name("forked.py")),
        module,
      ],
      cwd=ROOT,
      env=self.environment | {"PYTHONPATH": str(ROOT)},
      input=json.dumps([[str(word) for word in one] for one in many]),
      stdout=subprocess.PIPE,
      text=True,
      timeout=300,
      check=True,
    )
    return [tuple(one) for one in json.loads(process.stdout)]

  def run_and_signal(self, number, has_come, workdir, *more):
    """Run SMALL and send a signal when has_come(workdir) is true."""
    process = self.start(*SMALL, *more, f"--workdir={workdir}")
    deadline = time.monotonic() + 200
    while process.poll() is None and time.monotonic() < deadline:
      with contextlib.suppress(FileNotFoundError):
        if has_come(pathlib.Path(workdir)):
          process.send_signal(number)
          break
      time.sleep(0.002)
    out, err = process.communicate(timeout=300)
    return process.returncode, out, err

  @functools.cached_property
  def finished(self):
    """An undisturbed run: (workdir, standard output, standard error)."""
    workdir = self.folder / "finished"
    printed = self.folder / "finished.json"
    with open(self.folder / "lock", "w") as file:
      fcntl.flock(file, fcntl.LOCK_EX)  # Other workers wait for it.
      if not printed.exists():
        self.build_data()
        code, out, err = self.run(*WHOLE, f"--workdir={workdir}")
        assert code == 0, err
        printed.write_text(json.dumps([out, err]))
    return workdir, *json.loads(printed.read_text())

  def build_data(self):
    """Build the arrays, which says so once."""
    code, _, err = self.run(
      *SMALL, "--config.train.batch_size=100000", f"--workdir={self.folder}/no"
    )
    assert code == 2, err


def has_logged(num_lines):
  """Return the moment when the log has that many lines."""
  return lambda workdir: len(read_log(workdir)) >= num_lines


def has_saved_and_logged(workdir):
  """The moment when steps were logged after the first checkpoint."""
  return len(read_log(workdir)) >= 5 and bool(checkpoints(workdir))


def is_saving(workdir):
  """The moment when a second checkpoint is being written."""
  names = [path.name for path in (workdir / "checkpoints").iterdir()]
  return "3" in names and any(name.endswith("-tmp") for name in names)


def is_evaluating(workdir):
  """The moment when training has ended."""
  return (workdir / "checkpoints" / "16").exists()


def checkpoints(workdir):
  """Return the steps that are saved."""
  names = [path.name for path in pathlib.Path(workdir, "checkpoints").iterdir()]
  return sorted(int(name) for name in names if name.isdigit())


def last_digest(workdir):
  """Return the SHA-256 of all arrays of the newest checkpoint."""
  newest = pathlib.Path(
    workdir,
    "checkpoints",
    str(checkpoints(workdir)[-1]),
    "run_metadata",
    "metadata",
  )
  return json.loads(newest.read_text())["sha256"]


def assert_same_run(workdir, other):
  """Assert that two runs ended with the same bits, scores and log."""
  assert last_digest(workdir) == last_digest(other)
  results = [
    json.loads(pathlib.Path(one, "result.json").read_text())
    for one in (workdir, other)
  ]
  for name in ("metrics", "validation", "counts", "selected_step"):
    assert results[0][name] == results[1][name]
  with (
    np.load(pathlib.Path(workdir, "codes.npz"), allow_pickle=False) as got,
    np.load(pathlib.Path(other, "codes.npz"), allow_pickle=False) as want,
  ):
    assert got.files == want.files
    for name in want.files:
      np.testing.assert_array_equal(got[name], want[name])
  assert read_scalars(workdir) == read_scalars(other)


def read_scalars(workdir):
  """Return the lines of metrics.jsonl without what time and memory say."""
  return [
    {name: x for name, x in line.items() if not name.startswith("perf/")}
    for line in read_log(workdir)
  ]


def read_log(workdir):
  """Return the lines of metrics.jsonl."""
  text = pathlib.Path(workdir, "metrics.jsonl").read_text()
  whole = text.rpartition("\n")[0]  # Of a run under way.
  return [json.loads(line) for line in whole.splitlines()]
