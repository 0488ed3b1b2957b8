"""Trains on a folder of pictures from random weights, at several rates.

python -m benchmarks.own_pictures --folder=pictures --backbone=resnet18

Writes digit scenes as PNG files with a labels.csv into --folder, which must be
new, then trains the whole backbone with configs/listfile.py once for each
learning rate and prints a table.
"""

import csv
import pathlib
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from absl import flags
from PIL import Image

from configs import listfile
from dsh_jax import parallel, train
from dsh_jax.apps import command
from dsh_jax.data import digits

_METRICS = ("ndcg@100", "acg@100", "map@all")


def write_pictures(folder: pathlib.Path, num_pictures: int) -> None:
  """Write scenes and a labels.csv with their digits into a new folder."""
  folder.mkdir(parents=True)
  rng = np.random.default_rng(0)
  scans = digits.load_scans("train")
  with open(folder / "labels.csv", "w", newline="") as file:
    rows = csv.writer(file)
    for number in range(num_pictures):
      scene, labels = digits.compose(rng, scans)
      Image.fromarray(scene).save(folder / f"{number:05d}.png")
      rows.writerow([f"{number:05d}.png", ";".join(map(str, labels))])


def train_at(
  rate: float, folder: pathlib.Path, backbone: str, side: int, epochs: int
) -> dict[str, Any]:
  """Return result.json of a run at a learning rate."""
  config = listfile.get_config(f"method=idhn,backbone={backbone}")
  config.data.manual_dir = str(folder)
  config.data.csv = str(folder / "labels.csv")
  config.data.dir = str(folder / "cache")
  config.data.crop_size, config.data.image_size = side, side * 8 // 7
  config.data.flip = False  # A mirrored digit is a different character.
  config.optimizer.learning_rate = rate
  config.train.num_epochs = epochs
  config.tensorboard = False
  return train.train_and_evaluate(config, str(folder / f"{backbone}-{rate:g}"))


def _define_flags(values: flags.FlagValues) -> None:
  flags.DEFINE_string(
    "folder", None, "New folder.", required=True, flag_values=values
  )
  flags.DEFINE_string(
    "backbone", "resnet18", "The backbone.", flag_values=values
  )
  flags.DEFINE_list(
    "rates", ["1e-3", "3e-3", "1e-2"], "Learning rates.", flag_values=values
  )
  flags.DEFINE_integer(
    "num_pictures", 2000, "Pictures.", lower_bound=100, flag_values=values
  )
  flags.DEFINE_integer(
    "side", 48, "Side of the network's input, pixels.", flag_values=values
  )
  flags.DEFINE_integer("epochs", 30, "Epochs.", flag_values=values)


def main(argv: Sequence[str]) -> None:
  """Write, train, print."""
  given = command.parse(argv, _define_flags, __doc__)
  folder = pathlib.Path(given.folder).absolute()
  if not folder.exists():
    write_pictures(folder, given.num_pictures)
  parallel.use_cores(128)
  print("| learning rate |", " | ".join(_METRICS), "| minutes |")
  print("|---" * (len(_METRICS) + 2) + "|")
  for rate in map(float, given.rates):
    started = time.monotonic()
    result = train_at(rate, folder, given.backbone, given.side, given.epochs)
    scores = [f"{result['metrics'][m]['expected']:.3f}" for m in _METRICS]
    minutes = (time.monotonic() - started) / 60
    print(f"| {rate:g} | {' | '.join(scores)} | {minutes:.1f} |", flush=True)


if __name__ == "__main__":
  command.run(main)
