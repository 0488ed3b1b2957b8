"""Weights to start from on the digit scenes: `config.model.pretrained="digits"`.

As papers start from weights that tell apart the objects of ImageNet, the
embedded data start from weights that tell apart single digits. They are made
where they are first asked for and kept beside the prepared data, in the form of
any pretrained file.

The pictures have one digit each. Their scans are those of the training scenes:
no query, database or validation scene has any of them.
"""

import json
import os
import pathlib
import sys
import time

import jax
import numpy as np

from dsh_jax import errors, files, losses, steps
from dsh_jax.config import optimizer
from dsh_jax.data import augment, digits
from dsh_jax.models import hash_network, naming

NAME = "digits"
BACKBONE = "tiny"
# Of pictures and of how they are normalised; also that of the scenes.
MEAN, STD = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)
_VERSION = 1  # Of all below; weights of another one are made anew.
_SIDE = 32  # Pixels; a digit has 16 or 24.
_NUM_PICTURES = 10_000
_NUM_SCORED = 1_000
_BATCH_SIZE = 128
_NUM_STEPS = 400
_LEARNING_RATE = 1e-2
_PADDING = 4


def prepare(backbone: str, data_dir: str) -> str:
  """Returns the path of the weights; makes them if they are not there.

  The training has a fixed number of steps and runs on one CPU device, whatever
  the machine has else, so that machines of a kind get the same bits.

  Args:
    backbone: "tiny".
    data_dir: Where prepared data are kept.

  Raises:
    UserError: There are none for the backbone, or the file cannot be written.
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
  try:
    if not path.exists():
      started = time.monotonic()
      print("Training the weights to start from.", file=sys.stderr, flush=True)
      tensors, accuracy = make()
      facts = {
        "mean": MEAN,
        "std": STD,
        "accuracy": accuracy,
        "seconds": time.monotonic() - started,
      }
      folder.mkdir(parents=True, exist_ok=True)
      with files.replacing(folder / "config.json") as partial:
        partial.write_text(json.dumps(facts, indent=1) + "\n")
      with files.replacing(path) as partial, partial.open("wb") as file:
        np.savez(file, **tensors)
      print(
        f"They tell {accuracy:.1%} of single digits apart:"
        f" {facts['seconds']:.0f} s.",
        file=sys.stderr,
        flush=True,
      )
  except OSError as error:
    raise errors.UserError(
      f"Cannot prepare {path}: {errors.describe(error)}. Free space there, or"
      " change config.data.dir."
    ) from error
  return os.fspath(path)


def make() -> tuple[dict[str, np.ndarray], float]:
  """Trains the weights.

  Returns:
    Tensors by the names of torchvision, with the axes of PyTorch; and the share
    of right answers on pictures with the scans of the validation scenes.
  """
  images, answers = _draw("train", _NUM_PICTURES)
  labels = np.eye(10, dtype=np.uint8)[answers]
  rng = np.random.default_rng([2, 2])
  rows = np.concatenate(
    [
      rng.permutation(_NUM_PICTURES)
      for _ in range(-(-_NUM_STEPS * _BATCH_SIZE // _NUM_PICTURES))
    ]
  )
  network = hash_network.create_network(BACKBONE, num_outputs=10)
  # A label of ten, each by itself, as a scene can have several.
  method = losses.make_loss("classifier_code", num_bits=1, num_classes=10)
  augmentation = augment.Augmentation(_SIDE, _PADDING, mean=MEAN, std=STD)
  schedule = optimizer.create_schedule(
    "one_cycle", _LEARNING_RATE, _NUM_STEPS, 1
  )
  tx = optimizer.create_optimizer("adamw", schedule, weight_decay=1e-4)

  def create(key):
    return steps.create_state(network, method, tx, _SIDE, key)

  train_step = steps.make_train_step(
    network, method, tx, augmentation, seed=0, batch_size=_BATCH_SIZE
  )

  def predict(params, batch_stats, images):
    params = {name: params[name] for name in ("backbone", "head")}
    return network.apply(
      {"params": params, "batch_stats": batch_stats},
      augmentation.without_randomness(images),
    )

  with jax.default_device(jax.local_devices(backend="cpu")[0]):
    state = jax.jit(create)(jax.random.key(0))
    train_step = jax.jit(train_step, donate_argnums=0)
    for step in range(_NUM_STEPS):
      batch = rows[step * _BATCH_SIZE :][:_BATCH_SIZE]
      state, _ = train_step(state, images[batch], labels[batch])
    images, answers = _draw("validation", _NUM_SCORED)
    logits = jax.jit(predict)(state.params, state.batch_stats, images)
    state = jax.device_get(state)
  accuracy = float(np.mean(np.argmax(logits, axis=-1) == answers))
  variables = {
    "params": state.params["backbone"],
    "batch_stats": state.batch_stats["backbone"],
  }
  return naming.to_torch(BACKBONE, variables), accuracy


def _draw(split, count):
  """Returns uint8 [count,H,W,3] and the digits int64 [count]."""
  scans = digits.load_scans(split)
  rng = np.random.default_rng([2, len(split)])
  pictures = [digits.compose_single(rng, scans, _SIDE) for _ in range(count)]
  images, answers = zip(*pictures, strict=True)
  return np.stack(images), np.array(answers)
