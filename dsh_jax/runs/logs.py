"""The log of a run: metrics.jsonl, TensorBoard files and the terminal."""

import contextlib
import hashlib
import json
import logging
import os
import sys
from collections.abc import Iterator, Mapping
from typing import Any, Self

import numpy as np
import tqdm
from etils import epath

from dsh_jax import errors, files


class Log:
  """Writes scalars of steps to files, and progress to the terminal."""

  def __init__(
    self,
    workdir: str,
    *,
    start: int,
    total: int,
    images_per_step: int,
    tensorboard: bool,
    unit: str = "images",
    enabled: bool = True,
    recorded: Mapping[str, Any] | None = None,
  ):
    """Open the files and drop lines after the last checkpoint.

    A resumed run writes the lines it keeps to a new TensorBoard file, so that
    there is always one.

    Args:
      workdir: The folder of the run.
      start: Steps taken before; 0 in a new run.
      total: Steps of the whole training.
      images_per_step: B.
      unit: What they are called.
      tensorboard: Whether to write TensorBoard files, if clu is installed.
      enabled: Whether this host writes.
      recorded: `record` at the last checkpoint; None in a new run.

    Raises:
      StorageError: The files cannot be written.
    """
    self._enabled = enabled
    self._start = start
    self._total = total
    self._unit = unit
    self._images_per_step = images_per_step
    self._next_epoch = 0.0  # When the next line without a bar is due.
    self._bar = None
    self._writer = None
    if not enabled:
      return
    self._path = epath.Path(workdir) / "metrics.jsonl"
    with self._writing():
      kept = _read_kept(self._path, start, recorded)
      with files.replacing(self._path) as partial:
        partial.write_bytes(kept)
      self._file = self._path.open("a")
      self._writer = _tensorboard_writer(workdir, kept) if tensorboard else None
    self._num_bytes, self._sha = len(kept), hashlib.sha256(kept)
    if sys.stderr.isatty():
      self._bar = tqdm.tqdm(
        total=total * images_per_step,
        initial=start * images_per_step,
        unit=f" {unit}",
        unit_scale=True,
        smoothing=0.1,
      )

  def __enter__(self) -> Self:
    return self

  def __exit__(self, kind, error, trace) -> None:
    # A full disk raises again on closing; one error is enough.
    ignored = errors.StorageError if kind is not None else ()
    with contextlib.suppress(ignored):
      self.close()

  def progress(self, step: int) -> None:
    """Move the progress bar to `step` steps taken."""
    if self._bar is not None:
      if step == self._start:  # The first step was compiled meanwhile.
        self._bar.unpause()
      self._bar.update(step * self._images_per_step - self._bar.n)

  def scalars(self, step: int, epoch: float, values: Mapping[str, float]):
    """Write the values of a step to all files and to standard error.

    Standard error gets one line an epoch if it is not a terminal.

    Args:
      step: Steps taken.
      epoch: Epochs taken, with a fraction.
      values: Name -> value, such as "train/loss".

    Raises:
      StorageError: A file cannot be written.
    """
    if not self._enabled:
      return
    content = {"step": step, "epoch": round(epoch, 4), **values}
    line = json.dumps(content) + "\n"
    with self._writing():
      self._file.write(line)
      self._file.flush()
    self._num_bytes += len(line)  # JSON is ASCII.
    self._sha.update(line.encode())
    if self._writer is not None:
      self._writer.write_scalars(step, dict(values))
    if self._bar is None and not self._is_due(epoch, values):
      return
    text = "  ".join(
      f"{name.removeprefix('train/')} {value:.4g}"
      for name, value in values.items()
      if not name.startswith(("codes/", "perf/"))
    )
    self.say(f"step {step}/{self._total}  {text}{self._speed(step, values)}")

  def record(self) -> dict[str, Any] | None:
    """Return size and SHA-256 of the log for a checkpoint; None if disabled."""
    if not self._enabled:
      return None
    return {"num_bytes": self._num_bytes, "sha256": self._sha.hexdigest()}

  def say(self, text: str) -> None:
    """Print a line above the progress bar."""
    if self._bar is not None:
      self._bar.write(text, file=sys.stderr)
    elif self._enabled:
      print(text, file=sys.stderr, flush=True)

  def close(self) -> None:
    """Close the files and the bar.

    Raises:
      StorageError: A file cannot be written.
    """
    if self._bar is not None:
      self._bar.close()
    if self._writer is not None:
      self._writer.close()
    if self._enabled:
      with self._writing():
        self._file.close()

  @contextlib.contextmanager
  def _writing(self) -> Iterator[None]:
    try:
      yield
    except OSError as error:
      raise errors.StorageError(
        f"Cannot write {self._path}: {errors.describe(error)}. The checkpoints"
        " are intact; free space or repair the folder, then give the same"
        " command again."
      ) from error

  def _is_due(self, epoch, values):
    if epoch < self._next_epoch and "train/loss" in values:
      return False
    self._next_epoch = np.floor(epoch) + 1
    return True

  def _speed(self, step, values):
    """Return images/s and time left, unless a bar shows them."""
    if self._bar is not None or "perf/step_secs" not in values:
      return ""
    rate = values["perf/images_per_sec"]
    left = (self._total - step) * values["perf/step_secs"]
    return f"  {rate:.0f} {self._unit}/s  {left:.0f} s left"


def _read_kept(path, start, recorded):
  """Return the log at the last checkpoint, bytes.

  A killed run may have logged later steps, which are repeated, or half a line.
  """
  if not start:
    return b""
  content = files.read_bytes(path) if path.exists() else b""
  if recorded is not None:
    kept = content[: recorded["num_bytes"]]
    if hashlib.sha256(kept).hexdigest() == recorded["sha256"]:
      return kept
  aside = path.with_name("metrics.damaged.jsonl")
  if path.exists():
    path.replace(aside)
  logging.warning(
    "%s changed after step %d. It is kept as %s; a new log starts at this"
    " step.",
    path,
    start,
    aside.name,
  )
  return b""


def _tensorboard_writer(workdir, kept):
  # TensorFlow prints from C++ while it is imported, past sys.stderr.
  os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
  try:
    with _quiet_stderr():
      from clu import metric_writers
  except ImportError as error:
    logging.warning("No TensorBoard files: %s.", error)
    return None
  for path in epath.Path(workdir).glob("events.out.tfevents.*"):
    path.unlink(missing_ok=True)
  writer = metric_writers.SummaryWriter(str(workdir))
  for line in map(json.loads, kept.splitlines()):
    values = {k: v for k, v in line.items() if k not in ("step", "epoch")}
    writer.write_scalars(line["step"], values)
  return writer


@contextlib.contextmanager
def _quiet_stderr():
  sys.stderr.flush()
  kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
  try:
    os.dup2(nowhere, 2)
    yield
  finally:
    os.dup2(kept, 2)
    os.close(kept)
    os.close(nowhere)
