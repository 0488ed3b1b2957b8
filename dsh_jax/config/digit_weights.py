"""Pretrained weights for the digit scenes: config.model.pretrained="digits".

Papers start from ImageNet weights; the embedded data set starts from weights
that classify single digits. They are trained on first use and stored next to
the prepared data. Every image has one digit, a scan of the training scenes: no
query, database or validation scene uses it.
"""

import contextlib
import dataclasses
import json
import os
import pathlib
import subprocess
import sys
import time

import jax
import numpy as np

from dsh_jax import errors, files, losses, parallel, steps
from dsh_jax.config import optimizer
from dsh_jax.data import augment, digits
from dsh_jax.models import hash_network, naming, pretrained

NAME = "digits"
BACKBONE = "tiny"
# The same as that of the scenes.
PREPROCESSING = pretrained.Preprocessing((0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
_VERSION = 1  # Version of the training; other weights are trained again.
_FILES = ("config.json", "model.npz")
_SIDE = 32  # Pixels; a digit has 16 or 24.
_NUM_IMAGES = 8_000
_NUM_SCORED = 1_000
_BATCH_SIZE = 128
_NUM_STEPS = 250
_LEARNING_RATE = 1e-2
_PADDING = 4


# Always two devices of one thread: the number of threads that share a sum
# changes its last bits.
_NUM_DEVICES = 2
_ENVIRONMENT = {
  "JAX_PLATFORMS": "cpu",
  "XLA_FLAGS": f"--xla_force_host_platform_device_count={_NUM_DEVICES}"
  " --xla_cpu_multi_thread_eigen=false"
  # Compiles in two thirds of the time; steps are as fast.
  " --xla_backend_optimization_level=1",
}


def prepare(backbone: str, data_dir: str) -> str:
  """Return the path of the weights; train them if needed.

  A separate process trains them with a fixed number of steps and devices, so
  that equal machines get the same bits.

  Args:
    backbone: "tiny".
    data_dir: Folder of the prepared data.

  Raises:
    UserError: Another backbone, or the training failed.
  """
  if backbone != BACKBONE:
    raise errors.UserError(
      f"config.model.pretrained is {NAME!r}, which has weights of {BACKBONE!r}"
      f" only, and config.model.backbone is {backbone!r}. Give other weights,"
      f" or none: --config=configs/digits.py:start=cold,backbone={backbone}."
    )
  folder = pathlib.Path(data_dir) / "pretrained"
  folder /= f"{NAME}-v{_VERSION}-jax{jax.__version__}"
  path = folder / "model.npz"
  with contextlib.suppress(OSError, ValueError):  # Missing or damaged.
    files.check_seal(folder, *_FILES)
    return os.fspath(path)
  started = time.monotonic()
  print("Pretraining on single digits.", file=sys.stderr, flush=True)
  process = subprocess.run(
    [sys.executable, "-m", __name__, os.fspath(folder.absolute())],
    env=os.environ | _ENVIRONMENT,
    cwd=pathlib.Path(__file__).parents[2],
    stdout=subprocess.DEVNULL,
    stderr=subprocess.PIPE,
    text=True,
  )
  if process.returncode or not path.exists():
    reason = (process.stderr.strip().splitlines() or ["no output"])[-1]
    raise errors.UserError(
      f"Cannot train {path}: {reason}. Free disk space, change"
      " config.data.dir, or use random weights: --config=FILE:start=cold."
    )
  accuracy = json.loads((folder / "config.json").read_text())["accuracy"]
  print(
    f"Pretrained: {accuracy:.1%} of single digits are classified correctly,"
    f" {time.monotonic() - started:.0f} s.",
    file=sys.stderr,
    flush=True,
  )
  return os.fspath(path)


def train() -> tuple[dict[str, np.ndarray], float]:
  """Train the weights on all devices.

  Returns:
    PyTorch name -> tensor, with PyTorch's axes; the accuracy on images with the
    scans of the validation scenes.
  """
  mesh = parallel.DeviceMesh("pmap")
  images, answers = _draw("train", _NUM_IMAGES)
  labels = np.eye(10, dtype=np.uint8)[answers]
  rng = np.random.default_rng([2, 2])
  num_epochs = -(-_NUM_STEPS * _BATCH_SIZE // _NUM_IMAGES)
  rows = np.concatenate(
    [rng.permutation(_NUM_IMAGES) for _ in range(num_epochs)]
  )
  # Ten independent labels, as a scene can have several.
  method = losses.make_loss("classifier_code", num_bits=1, num_classes=10)
  network = hash_network.create_network(
    BACKBONE, num_outputs=10, axis_name=mesh.axis_name
  )
  augmentation = augment.Augmentation(
    _SIDE, _PADDING, **dataclasses.asdict(PREPROCESSING)
  )
  schedule = optimizer.create_schedule(
    "one_cycle", _LEARNING_RATE, _NUM_STEPS, 1
  )
  tx = optimizer.create_optimizer("adamw", schedule, weight_decay=1e-4)
  train_step = mesh.parallelize(
    steps.make_train_step(
      network,
      method,
      tx,
      augmentation,
      seed=0,
      batch_size=_BATCH_SIZE,
      axis_name=mesh.axis_name,
    ),
    donate_state=True,
  )

  @jax.jit
  def create(key):
    return steps.create_state(network, method, tx, (_SIDE, _SIDE, 3), key)

  @jax.jit
  def predict(params, batch_stats, images):
    params = {name: params[name] for name in ("backbone", "head")}
    return network.apply(
      {"params": params, "batch_stats": batch_stats},
      augmentation.without_randomness(images),
    )

  state = mesh.replicate(create(jax.random.key(0)))
  for step in range(_NUM_STEPS):
    batch = rows[step * _BATCH_SIZE :][:_BATCH_SIZE]
    state, outcome = train_step(
      state, *mesh.shard_batch((images[batch], labels[batch]))
    )
    # All-reduces of simulated devices time out if too many steps are queued.
    jax.block_until_ready(outcome)
  state = mesh.fetch(state)
  images, answers = _draw("validation", _NUM_SCORED)
  logits = predict(state.params, state.batch_stats, images)
  accuracy = float(np.mean(np.argmax(logits, axis=-1) == answers))
  variables = {
    "params": state.params["backbone"],
    "batch_stats": state.batch_stats["backbone"],
  }
  return naming.to_torch(BACKBONE, variables), accuracy


def _draw(split, count):
  """Return uint8 [count,H,W,3] and digits int64 [count]."""
  scans = digits.load_scans(split)
  rng = np.random.default_rng([2, len(split)])
  items = [digits.compose_single(rng, scans, _SIDE) for _ in range(count)]
  images, answers = zip(*items, strict=True)
  return np.stack(images), np.array(answers)


def _main(folder: pathlib.Path) -> None:
  """Train and write the weights and their config.json."""
  tensors, accuracy = train()
  folder.mkdir(parents=True, exist_ok=True)
  metadata = dataclasses.asdict(PREPROCESSING) | {"accuracy": accuracy}
  with files.replacing(folder / "config.json") as partial:
    partial.write_text(json.dumps(metadata, indent=1) + "\n")
  with files.replacing(folder / "model.npz") as partial:
    with partial.open("wb") as file:
      np.savez(file, **tensors)
  files.seal(folder, *_FILES)


if __name__ == "__main__":
  _main(pathlib.Path(sys.argv[1]))
