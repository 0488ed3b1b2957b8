"""Communication between devices in one training step, from compiled programs.

python -m benchmarks.speed.collectives --backbone=resnet50

Compiles the step for 2, 4 and 8 simulated devices and lists the collective
operations of each program, with their bytes. The images are small, as
communication does not depend on their size.
"""

import collections
import os
import re
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from absl import flags

from benchmarks.compile_ahead import collectives as hlo_collectives
from benchmarks.speed import train_cell
from dsh_jax import parallel, steps
from dsh_jax.apps import command
from dsh_jax.config import factories

_OPERATION = re.compile(
  r" = (.*?) (all-reduce|all-gather|reduce-scatter|all-to-all"
  r"|collective-permute)(?:-start)?\("
)


def read(program: str) -> dict[str, tuple[int, int]]:
  """Read the collectives of a compiled program.

  Args:
    program: Text of HLO.

  Returns:
    Operation -> (count, bytes of the results on one device).
  """
  found = collections.defaultdict(lambda: (0, 0))
  for result, name in _OPERATION.findall(program):
    count, total = found[name]
    found[name] = count + 1, total + hlo_collectives.num_bytes(result)
  return dict(found)


def compile_step(cell: train_cell.TimedStep, num_devices: int) -> str:
  """Compile the step and return its HLO.

  Args:
    cell: The step to compile.
    num_devices: P.
  """
  config = cell.config()
  mesh = parallel.DeviceMesh(cell.parallel, jax.devices()[:num_devices])
  method = factories.create_method(config, cell.num_classes)
  tx = factories.create_optimizer(config, method, 1000)
  network = factories.create_network(config, method, mesh.axis_name)
  state = jax.eval_shape(
    lambda key: steps.create_state(
      factories.create_network(config, method),
      method,
      tx,
      (cell.image_size, cell.image_size, 3),
      key,
    ),
    jax.random.key(0),
  )
  step = steps.make_train_step(
    network,
    method,
    tx,
    factories.create_augmentation(config),
    seed=0,
    batch_size=cell.batch_size,
    axis_name=mesh.axis_name,
  )
  step = mesh.parallelize(steps.scan_steps(step))
  arguments = _arguments(cell, state, num_devices)
  return step.lower(*arguments).compile().as_text()


def _arguments(cell, state, num_devices):
  """Return the shapes of a state and a batch as `DeviceMesh` shards them."""
  size, count = cell.image_size, cell.batch_size
  batch = ((size, size, 3), jnp.uint8), ((cell.num_classes,), jnp.uint8)
  if cell.parallel == "pmap":
    copied = jax.tree.map(
      lambda x: jax.ShapeDtypeStruct((num_devices, *x.shape), x.dtype), state
    )
    return copied, *(
      jax.ShapeDtypeStruct(
        (num_devices, 1, count // num_devices, *shape), dtype
      )
      for shape, dtype in batch
    )
  mesh = jax.make_mesh(
    (num_devices,),
    (parallel.AXIS,),
    axis_types=(jax.sharding.AxisType.Auto,),
    devices=jax.devices()[:num_devices],
  )
  spec = jax.sharding.PartitionSpec
  everywhere = jax.sharding.NamedSharding(mesh, spec())
  sharded = jax.sharding.NamedSharding(mesh, spec(None, parallel.AXIS))
  copied = jax.tree.map(
    lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=everywhere),
    state,
  )
  return copied, *(
    jax.ShapeDtypeStruct((1, count, *shape), dtype, sharding=sharded)
    for shape, dtype in batch
  )


def _main(argv: Sequence[str]) -> None:
  command.parse(argv, description=__doc__)
  print("| what | P | operation | how many | bytes | sent by a device |")
  print("|---|---|---|---|---|---|")
  for kind in flags.FLAGS.parallel:
    for num_devices in map(int, flags.FLAGS.devices):
      cell = train_cell.TimedStep(
        flags.FLAGS.backbone,
        flags.FLAGS.image_size,
        flags.FLAGS.per_device * num_devices,
        parallel=kind,
      )
      program = compile_step(cell, num_devices)
      for name, (count, size) in sorted(read(program).items()):
        print(
          f"| {cell.backbone} {kind} B={cell.batch_size} | {num_devices} |"
          f" {name} | {count} | {size:,} |"
          f" {hlo_collectives.sent(name, size, num_devices):,.0f} |",
          flush=True,
        )


def _define_flags() -> None:
  flags.DEFINE_string("backbone", "resnet50", "Its name.")
  flags.DEFINE_list("devices", ["2", "4", "8"], "P, at most 8.")
  flags.DEFINE_list("parallel", ["pmap", "jit"], "pmap, jit.")
  flags.DEFINE_integer("per_device", 4, "B/P.")
  flags.DEFINE_integer("image_size", 64, "Pixels.")


if __name__ == "__main__":
  jax.config.update("jax_platforms", "cpu")
  # Read when devices are first used.
  os.environ["XLA_FLAGS"] = (
    os.environ.get("XLA_FLAGS", "")
    + " --xla_force_host_platform_device_count=8"
    " --xla_backend_optimization_level=0"  # Affects the machine code alone.
  )
  _define_flags()
  command.run(_main)
