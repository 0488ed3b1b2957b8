"""Weights to start from on the digit scenes: config.model.pretrained="digits".

As papers start from weights that tell apart the objects of ImageNet, the
embedded data start from weights that tell apart single digits. They are made
where they are first asked for and kept beside the prepared data, in the form of
any pretrained file.

The pictures have one digit each. Their scans are those of the training scenes:
no query, database or validation scene has any of them.
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
# Of pictures and of how they are normalised; also that of the scenes.
PREPROCESSING = pretrained.Preprocessing((0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
_VERSION = 1  # Of all below; weights of another one are made anew.
_FILES = ("config.json", "model.npz")
_SIDE = 32  # Pixels; a digit has 16 or 24.
_NUM_PICTURES = 8_000
_NUM_SCORED = 1_000
_BATCH_SIZE = 128
_NUM_STEPS = 250
_LEARNING_RATE = 1e-2
_PADDING = 4


# Two devices of one thread each, whatever the machine has: how many threads
# share a sum decides its last bits.
_NUM_DEVICES = 2
_ENVIRONMENT = {
  "JAX_PLATFORMS": "cpu",
  "XLA_FLAGS": f"--xla_force_host_platform_device_count={_NUM_DEVICES}"
  " --xla_cpu_multi_thread_eigen=false"
  # Steps as fast as those of the default, compiled in two thirds of the time.
  " --xla_backend_optimization_level=1",
}


def prepare(backbone: str, data_dir: str) -> str:
  """Return the path of the weights; makes them if they are not there.

  They are made by a process of its own, with a fixed number of steps and
  devices, so that machines of a kind get the same bits.

  Args:
    backbone: "tiny".
    data_dir: Where prepared data are kept.

  Raises:
    UserError: There are none for the backbone, or they cannot be made.
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
  # Not there, or damaged.
  with contextlib.suppress(OSError, ValueError):
    files.check_seal(folder, *_FILES)
    return os.fspath(path)
  started = time.monotonic()
  print("Training the weights to start from.", file=sys.stderr, flush=True)
  made = subprocess.run(
    [sys.executable, "-m", __name__, os.fspath(folder.absolute())],
    env=os.environ | _ENVIRONMENT,
    cwd=pathlib.Path(__file__).parents[2],
    stdout=subprocess.DEVNULL,
    stderr=subprocess.PIPE,
    text=True,
  )
  if made.returncode or not path.exists():
    reason = (made.stderr.strip().splitlines() or ["it ended"])[-1]
    raise errors.UserError(
      f"Cannot make {path}: {reason}. Free space there, change"
      " config.data.dir, or start without: --config=FILE:start=cold."
    )
  accuracy = json.loads((folder / "config.json").read_text())["accuracy"]
  print(
    f"They tell apart {accuracy:.1%} of single digits:"
    f" {time.monotonic() - started:.0f} s.",
    file=sys.stderr,
    flush=True,
  )
  return os.fspath(path)


def make() -> tuple[dict[str, np.ndarray], float]:
  """Train the weights, on all devices.

  Returns:
    Tensors by the names of torchvision, with the axes of PyTorch; and the share
    of right answers on pictures with the scans of the validation scenes.
  """
  mesh = parallel.DeviceMesh("pmap")
  images, answers = _draw("train", _NUM_PICTURES)
  labels = np.eye(10, dtype=np.uint8)[answers]
  rng = np.random.default_rng([2, 2])
  num_epochs = -(-_NUM_STEPS * _BATCH_SIZE // _NUM_PICTURES)
  rows = np.concatenate(
    [rng.permutation(_NUM_PICTURES) for _ in range(num_epochs)]
  )
  # A label of ten, each by itself, as a scene can have several.
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
    # Devices that meet in a sum give up where too many steps wait for it.
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
  """Return uint8 [count,H,W,3] and the digits int64 [count]."""
  scans = digits.load_scans(split)
  rng = np.random.default_rng([2, len(split)])
  pictures = [digits.compose_single(rng, scans, _SIDE) for _ in range(count)]
  images, answers = zip(*pictures, strict=True)
  return np.stack(images), np.array(answers)


def _main(folder: pathlib.Path) -> None:
  """Write the weights and their config.json, each whole or not at all."""
  tensors, accuracy = make()
  folder.mkdir(parents=True, exist_ok=True)
  facts = dataclasses.asdict(PREPROCESSING) | {"accuracy": accuracy}
  with files.replacing(folder / "config.json") as partial:
    partial.write_text(json.dumps(facts, indent=1) + "\n")
  with files.replacing(folder / "model.npz") as partial:
    with partial.open("wb") as file:
      np.savez(file, **tensors)
  files.seal(folder, *_FILES)


if __name__ == "__main__":
  _main(pathlib.Path(sys.argv[1]))
