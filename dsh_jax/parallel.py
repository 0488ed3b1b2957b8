"""Devices; no other module knows about them."""

import os
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

AXIS = "batch"
_LARGE_BATCH = 8192  # Batch from which pairs cost more than most networks.
_MIN_IMAGES = 16  # Images per CPU device; fewer are slower.
_SPEC = jax.sharding.PartitionSpec
# By kind of device. More VMEM per operation takes fewer cycles on a v5e, by
# estimate (benchmarks/results/compile_ahead_tried.md). On a CPU, level 1
# compiles in two thirds of the time, and steps take as long.
_COMPILER_OPTIONS = {
  "TPU v5 lite": {"xla_tpu_scoped_vmem_limit_kib": "65536"},
  "cpu": {"xla_backend_optimization_level": "1"},
}


def num_cores() -> int:
  """Return the number of cores that this process may use."""
  if hasattr(os, "sched_getaffinity"):  # Not on macOS.
    return len(os.sched_getaffinity(0))
  return os.cpu_count() or 1


def use_cores(batch_size: int) -> None:
  """Make one CPU device per core; call it before any other use of JAX.

  Two cores train the embedded job faster as two devices than as two threads of
  one (benchmarks/results/train_speed_tried.md). A number set by XLA_FLAGS or
  JAX_NUM_CPU_DEVICES is kept.

  Args:
    batch_size: Images per forward pass. The number of devices divides it, and
      leaves each at least 16 images.
  """
  in_flags = "xla_force_host_platform_device_count" in os.environ.get(
    "XLA_FLAGS", ""
  )
  if in_flags or jax.config.jax_num_cpu_devices > 0:
    return
  most = max(1, min(num_cores(), batch_size // _MIN_IMAGES))
  count = next(n for n in range(most, 0, -1) if batch_size % n == 0)
  jax.config.update("jax_num_cpu_devices", count)


def compiler_options(device: jax.Device) -> dict[str, str]:
  """Return the options that programs for this kind of device compile with."""
  return _COMPILER_OPTIONS.get(device.device_kind, {})


class DeviceMesh:
  """The devices of a run.

  Attributes:
    axis_name: The pmap axis of steps; None under jit.
    num_devices: P, over all hosts.
  """

  def __init__(self, kind: str = "pmap", devices: list | None = None):
    """Set the devices and how steps run on them.

    Args:
      kind: "pmap": one program per device, with an axis name. "jit": one
        program on global arrays, sharded over a mesh.
      devices: All of all hosts by default.
    """
    self._devices = list(devices or jax.devices())
    self._is_pmap = kind == "pmap"
    self._mesh = jax.sharding.Mesh(
      np.asarray(self._devices),
      (AXIS,),
      axis_types=(jax.sharding.AxisType.Auto,),
    )
    self.axis_name = AXIS if self._is_pmap else None
    self.num_devices = len(self._devices)
    self._num_local = sum(
      d.process_index == jax.process_index() for d in self._devices
    )

  def advice(self, batch_size: int) -> str:
    """Return a sentence if another kind suits a global batch better, or ""."""
    if not self._is_pmap or self.num_devices == 1 or batch_size <= _LARGE_BATCH:
      return ""
    return (
      f'With config.parallel="pmap" each of the {self.num_devices} devices'
      f' computes the loss of all pairs of {batch_size:,} items; "jit"'
      " divides the pairs among them."
    )

  def parallelize(self, step: Callable, donate_state: bool = False) -> Callable:
    """Return the step on arrays from `replicate` and `shard_batch`.

    Args:
      step: Its first argument is replicated, the others are sharded. Under pmap
        it gets the rows of one device, under jit those of the whole batch.
      donate_state: Whether the first argument may be overwritten.
    """
    donated = (0,) if donate_state else ()
    if self._is_pmap:
      step = jax.pmap(step, AXIS, devices=self._devices, donate_argnums=donated)
      if jax.process_count() > 1:
        return step  # jit would hand it the rows of all hosts.
    # pmap takes no compiler options; jit around it does.
    return jax.jit(
      step,
      donate_argnums=donated,
      compiler_options=compiler_options(self._devices[0]),
    )

  def replicate(self, tree: Any) -> Any:
    """Copy a tree of host arrays to every device.

    Under pmap, the result has a leading axis of devices.
    """

    def put(x):
      x = np.asarray(x)
      if self._is_pmap:
        return self._global(np.stack([x] * self._num_local), _SPEC(AXIS))
      return self._global(x, _SPEC())

    return jax.tree.map(put, tree)

  def shard_batch(self, tree: Any, batch_axis: int = 0) -> Any:
    """Shard this host's rows of a batch over its devices.

    Under pmap, the result has a leading axis of devices.

    Args:
      tree: Host arrays with `local_rows` of the batch on `batch_axis`; B is a
        multiple of P.
      batch_axis: 0, or 1 for several batches in one call.
    """

    def put(x):
      if not self._is_pmap:
        return self._global(x, _SPEC(*[None] * batch_axis, AXIS))
      # A view: at full speed, copying the pixels would occupy a core.
      before, after = x.shape[:batch_axis], x.shape[batch_axis + 1 :]
      x = x.reshape(*before, self._num_local, -1, *after)
      return self._global(np.moveaxis(x, batch_axis, 0), _SPEC(AXIS))

    return jax.tree.map(put, tree)

  def local_rows(self, batch_size: int) -> slice:
    """Return the rows of a global batch that this host reads."""
    index, count = jax.process_index(), jax.process_count()
    return slice(index * batch_size // count, (index + 1) * batch_size // count)

  def fetch(self, tree: Any) -> Any:
    """Copy a replicated tree to the host."""

    # All transfers start before the first is waited for.
    shards = jax.device_get(jax.tree.map(lambda x: x.addressable_data(0), tree))
    return jax.tree.map(lambda x: x[0], shards) if self._is_pmap else shards

  def gather(self, array: jax.Array) -> np.ndarray:
    """Gather the rows of sharded batches on every host.

    Args:
      array: [n,B,F], n batches; under pmap [P,n,B/P,F].

    Returns:
      [n*B,F], in the order of the batches.
    """
    if not self._is_pmap:
      if array.is_fully_addressable:
        rows = np.asarray(array)
      else:
        rows = multihost_utils.process_allgather(array, tiled=True)
      return rows.reshape(-1, rows.shape[-1])
    shards = sorted(
      array.addressable_shards, key=lambda s: s.index[0].start or 0
    )
    rows = np.concatenate([np.asarray(s.data)[0] for s in shards], axis=1)
    if jax.process_count() > 1:
      by_host = multihost_utils.process_allgather(rows)
      rows = np.concatenate(list(by_host), axis=1)
    return rows.reshape(-1, rows.shape[-1])

  def _global(self, local, spec):
    sharding = jax.sharding.NamedSharding(self._mesh, spec)
    return jax.make_array_from_process_local_data(sharding, local)
