"""One training step, and timers of its parts."""

import contextlib
import dataclasses
import pathlib
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np

from configs import digits
from dsh_jax import data, parallel, steps
from dsh_jax.config import factories, fields
from dsh_jax.data import batches
from dsh_jax.runs import flop

INPUTS = ("device", "host", "real")
_LABELS_PER_ITEM = 2.4
_PREFETCH = 2


@dataclasses.dataclass(frozen=True)
class TimedStep:
  """The step to time.

  Attributes:
    backbone: A key of `models.BACKBONES`.
    image_size: Side of the images, pixels.
    batch_size: B, over all devices.
    dtype: "float32" or "bfloat16".
    parallel: "pmap" or "jit".
    method: A key of `configs.methods.METHODS`.
    num_bits: K.
    num_classes: L.
    accumulate: Parts of a batch.
    remat: Whether activations are recomputed.
    steps_per_dispatch: Steps per call.
  """

  backbone: str
  image_size: int
  batch_size: int
  dtype: str = "float32"
  parallel: str = "pmap"
  method: str = "idhn"
  num_bits: int = 64
  num_classes: int = 21
  accumulate: int = 1
  remat: bool = False
  steps_per_dispatch: int = 1

  def config(self):
    """Return the configuration, as for a run."""
    config = digits.get_config(
      f"method={self.method},bits={self.num_bits},backbone={self.backbone},"
      "start=cold"  # A step takes the same time from any weights.
    )
    config.data.image_size = self.image_size
    config.data.flip = True
    config.dtype, config.parallel = self.dtype, self.parallel
    config.model.remat = self.remat
    config.train.batch_size = self.batch_size
    config.train.accumulate = self.accumulate
    config.train.steps_per_dispatch = self.steps_per_dispatch
    return config


@dataclasses.dataclass(frozen=True)
class Times:
  """Seconds of steps.

  Attributes:
    wall: Of each step, on the clock.
    cpu: Of each step, over all threads of the process.
  """

  wall: tuple[float, ...]
  cpu: tuple[float, ...]


class Bench:
  """A compiled step and its inputs."""

  def __init__(self, cell: TimedStep):
    """Compile the step.

    Raises:
      UserError: A field of the cell is wrong.
    """
    self.cell = cell
    config = cell.config()
    self._mesh = mesh = parallel.DeviceMesh(cell.parallel)
    fields.validate(config, mesh.num_devices)
    self._method = method = factories.create_method(config, cell.num_classes)
    network = factories.create_network(config, method, mesh.axis_name)
    self._tx = factories.create_optimizer(config, method, 100_000)
    self._augmentation = factories.create_augmentation(config)
    self._host_state = factories.create_state(
      config,
      factories.create_network(config, method),
      method,
      self._tx,
    )
    self._state = mesh.replicate(self._host_state)
    step = steps.make_train_step(
      network,
      method,
      self._tx,
      self._augmentation,
      seed=0,
      batch_size=cell.batch_size,
      axis_name=mesh.axis_name,
      accumulate=cell.accumulate,
    )
    rng = np.random.default_rng(0)
    self._split = _random_split(rng, cell)
    self._batch = self._place(0)
    lifted = mesh.parallelize(steps.scan_steps(step), donate_state=True)
    started = time.perf_counter()
    self._step = lifted.lower(self._state, *self._batch).compile()
    self.compile_secs = time.perf_counter() - started
    self._at = 0
    params = {k: v for k, v in self._host_state.params.items() if k != "loss"}
    self.flops = flop.of_step(
      factories.create_network(config, method),
      {"params": params, "batch_stats": self._host_state.batch_stats},
      (cell.batch_size, cell.image_size, cell.image_size, 3),
    )

  def memory(self) -> dict[str, int]:
    """Return bytes on one device: the step's arguments, temporary memory."""
    found = self._step.memory_analysis()
    return {
      "argument_bytes": found.argument_size_in_bytes,
      "temporary_bytes": found.temp_size_in_bytes,
    }

  def time_steps(self, count: int, source: str = "device") -> Times:
    """Take steps as training does: the next runs while one is read.

    Args:
      count: Calls to time.
      source: Where the batches come from. "device": one batch
        on the device. "host": one batch, copied in every step. "real": rows
        of a file of images, prefetched.

    Returns:
      Seconds of each step.
    """
    per_call = self.cell.steps_per_dispatch
    wall, cpu, waiting = [], [], None
    with contextlib.closing(self._batches(count + 1, source)) as stream:
      for batch in stream:
        self._state, outcome = self._step(self._state, *batch)
        if waiting is not None:
          self._mesh.fetch(waiting)
          wall.append(time.perf_counter())
          cpu.append(time.process_time())
        waiting = outcome
      self._mesh.fetch(waiting)
    wall.append(time.perf_counter())
    cpu.append(time.process_time())
    return Times(
      tuple(np.diff(wall) / per_call), tuple(np.diff(cpu) / per_call)
    )

  def time_parts(self, count: int) -> dict[str, float]:
    """Time the parts of a step alone, each as a program of its own.

    Args:
      count: Runs of each; the fastest counts.

    Returns:
      Seconds of loss (value and gradient of the global batch), optimizer,
      augmentation (one device's images), and read (gathering rows and
      putting them on the devices).
    """
    cell, method = self.cell, self._method
    rng = np.random.default_rng(0)
    shape = (cell.batch_size, method.num_outputs)
    logits = rng.standard_normal(shape, np.float32)
    params = self._host_state.params

    def objective(loss_params, logits, labels):
      codes = method.activation(logits, 0)
      return method(loss_params, codes, labels, step=0)[0]

    share = cell.batch_size // self._mesh.num_devices
    images = self._split.take(np.arange(share))
    opt_state = self._host_state.opt_state
    return {
      "loss": _fastest(
        jax.jit(jax.value_and_grad(objective, argnums=(0, 1))),
        (params["loss"], logits, self._split.labels[: cell.batch_size]),
        count,
      ),
      "optimizer": _fastest(
        jax.jit(lambda g, s, p: self._tx.update(g, s, p)),
        (params, opt_state, params),
        count,
      ),
      "augmentation": _fastest(
        jax.jit(
          lambda images: self._augmentation(
            jax.random.key(0), images, cell.batch_size
          )
        ),
        (images,),
        count,
      ),
      "read": min(_seconds(lambda: self._place(0)) for _ in range(count)),
    }

  def _batches(self, count, source) -> Iterator[Any]:
    if source == "real":
      per_call = self.cell.steps_per_dispatch
      first = self._at
      self._at += count * per_call
      yield from batches.prefetch(
        lambda index: self._place(first + index * per_call),
        0,
        count,
        _PREFETCH,
      )
    for _ in range(count if source != "real" else 0):
      yield self._batch if source == "device" else self._place(0)

  def _place(self, first_step):
    size = self.cell.batch_size
    mine = self._mesh.local_rows(size)
    rows = [
      batches.batch_indices(0, step, len(self._split), size)[mine]
      for step in range(first_step, first_step + self.cell.steps_per_dispatch)
    ]
    images = np.stack([self._split.take(r) for r in rows])
    labels = np.stack([self._split.labels[r] for r in rows])
    return self._mesh.shard_batch((images, labels), batch_axis=1)


def _random_split(rng, cell) -> data.Split:
  """A file of four batches of random images, mapped into memory."""
  count, side = 4 * cell.batch_size, cell.image_size
  with tempfile.TemporaryDirectory() as folder:  # The mapping stays valid.
    path = pathlib.Path(folder, "images.npy")
    images = np.lib.format.open_memmap(
      path, "w+", np.uint8, (count, side, side, 3)
    )
    for row in images:
      row[...] = rng.integers(0, 256, row.shape, np.uint8)
  share = _LABELS_PER_ITEM / cell.num_classes
  labels = (rng.random((count, cell.num_classes)) < share).astype(np.uint8)
  rows = np.arange(count)
  return data.Split(images, rows, labels, rows.astype(str))


def _fastest(function: Callable, arguments: tuple, count: int) -> float:
  arguments = jax.device_put(arguments)
  jax.block_until_ready(function(*arguments))
  return min(
    _seconds(lambda: jax.block_until_ready(function(*arguments)))
    for _ in range(count)
  )


def _seconds(call) -> float:
  started = time.perf_counter()
  jax.block_until_ready(call())
  return time.perf_counter() - started
