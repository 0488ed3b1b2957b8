"""Times a few steps of a configuration on random pictures; needs no data.

python -m benchmarks.tables.timing --config=FILE:... --workdir=DIR \\
  --num_classes=L

Written to the workdir: result.json with seconds and bytes.
"""

import pathlib
import resource
import sys
import time
from collections.abc import Sequence

from absl import flags
from ml_collections import config_flags

from benchmarks.tables import runner
from dsh_jax.apps import command

_MAX_STEPS = 5
_NUM_STEPS = 1000  # Steps of the schedule.
_ENOUGH_SECS = 10.0


def measure(config, num_classes: int) -> dict[str, float]:
  """Return the cost of a configuration.

  Args:
    config: As in configs/default.py.
    num_classes: L.

  Returns:
    start_secs (weights and compilation, without imports), step_secs,
    encoded_per_sec, host_bytes (peak of this process), device_bytes (peak of
    one accelerator; 0 where the host is the device).
  """
  import jax
  import numpy as np

  from dsh_jax import parallel, steps
  from dsh_jax.config import factories, fields
  from dsh_jax.runs import encoding

  mesh = parallel.DeviceMesh(config.parallel)
  fields.validate(config, mesh.num_devices)
  started = time.monotonic()
  method = factories.create_method(config, num_classes)
  network = factories.create_network(config, method, mesh.axis_name)
  augmentation = factories.create_augmentation(config)
  tx = factories.create_optimizer(config, method, _NUM_STEPS)
  state = factories.create_state(config, network, method, tx)
  weights = mesh.replicate((state.params, state.batch_stats))
  train_step = factories.make_train_step(
    config, network, method, tx, _NUM_STEPS, mesh.axis_name
  )
  step = mesh.parallelize(steps.scan_steps(train_step), donate_state=True)
  state = mesh.replicate(state)
  rng = np.random.default_rng(0)
  size = config.train.batch_size
  shape = (size, config.data.image_size, config.data.image_size, 3)
  images = rng.integers(0, 256, shape, dtype=np.uint8)
  labels = (rng.random((size, num_classes)) < 0.3).astype(np.uint8)
  batch = mesh.shard_batch((images[None], labels[None]), batch_axis=1)

  def take_step(state):
    state, outcome = step(state, *batch)
    mesh.fetch(outcome)
    return state

  state = take_step(state)
  start_secs = time.monotonic() - started
  started, count = time.monotonic(), 0
  while count < _MAX_STEPS and time.monotonic() - started < _ENOUGH_SECS:
    state = take_step(state)
    count += 1
  step_secs = (time.monotonic() - started) / count

  encode_step = steps.make_encode_step(network, method, augmentation)
  encoder = encoding.BatchEncoder(encode_step, mesh, config.eval.batch_size)
  num_images = config.eval.batch_size * mesh.num_devices

  def encode():
    started = time.monotonic()
    encoder(weights, lambda rows: images[rows % size], num_images)
    return time.monotonic() - started

  start_secs += (first := encode())
  encode_secs = encode() if first < 10 * _ENOUGH_SECS else first
  stats = jax.local_devices()[0].memory_stats() or {}
  peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
  return {
    "start_secs": start_secs,
    "step_secs": step_secs,
    "encoded_per_sec": num_images / encode_secs,
    "host_bytes": peak * (1 if sys.platform == "darwin" else 1024),
    "device_bytes": stats.get("peak_bytes_in_use", 0),
    "device": f"{mesh.num_devices} x {jax.devices()[0].device_kind}",
    "batch_size": size,
    "num_epochs": config.train.num_epochs,
    "validate_every_epochs": config.train.validate_every_epochs,
    "image_size": config.data.image_size,
    "data_dir": config.data.dir,
    "manual_dir": config.data.manual_dir,
  }


def _main(argv: Sequence[str]) -> None:
  command.parse(argv, description=__doc__)
  cost = measure(flags.FLAGS.config, flags.FLAGS.num_classes)
  runner.write_json(pathlib.Path(flags.FLAGS.workdir) / "result.json", cost)


if __name__ == "__main__":
  config_flags.DEFINE_config_file("config", None, "A file of configs.")
  flags.DEFINE_string("workdir", None, "Folder of result.json.")
  flags.DEFINE_integer("num_classes", 10, "L.")
  command.run(_main)
