"""A real-size rehearsal: photographs to scores through the command line.

python -m benchmarks.speed.rehearsal --num_images=20000

Makes synthetic JPEGs of 500 x 375 in the layout of MIRFLICKR-25K in a
temporary folder, then trains one epoch of ResNet-18 at a low resolution and
evaluates, as a user with the archive would. Seconds and peak memory go to
benchmarks/results/rehearsal.md.
"""

import json
import os
import pathlib
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence

from absl import app, flags

from benchmarks import hardware
from benchmarks.speed import synthetic_photos

FLAGS = flags.FLAGS
flags.DEFINE_integer("num_images", 20000, "Number of images.")
flags.DEFINE_integer("num_train", 4000, "Training and validation images.")
flags.DEFINE_integer("num_query", 1000, "Test queries.")
flags.DEFINE_integer("num_database", 15000, "Database items.")
flags.DEFINE_integer("image_size", 64, "Side of the decoded images, pixels.")
flags.DEFINE_string("temporary", None, "Folder for temporary files.")

_RESULT = pathlib.Path(__file__).parents[1] / "results" / "rehearsal.md"


def _run(folder: str) -> tuple[float, float]:
  """Run the command; return its seconds and its peak memory in GiB."""
  fields = {
    "data.manual_dir": f"{folder}/archives",
    "data.dir": f"{folder}/data",
    "data.num_images": FLAGS.num_images,
    "data.num_train": FLAGS.num_train,
    "data.num_query": FLAGS.num_query,
    "data.num_database": FLAGS.num_database,
    "data.image_size": FLAGS.image_size,
    "data.crop_size": FLAGS.image_size - 8,
    "train.log_every_steps": 5,
    "train.checkpoint_every_steps": 0,
  }
  command = [
    sys.executable,
    "-m",
    "dsh_jax.main",
    "--config=configs/mirflickr25k.py:method=idhn,backbone=resnet18,epochs=1",
    f"--workdir={folder}/run",
    "--noreport",
    *(f"--config.{name}={value}" for name, value in fields.items()),
  ]
  started = time.monotonic()
  subprocess.run(command, check=True)
  secs = time.monotonic() - started
  peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
  return secs, peak


def main(argv: Sequence[str]) -> None:
  """Rehearse and write the table."""
  del argv
  with tempfile.TemporaryDirectory(dir=FLAGS.temporary) as folder:
    synthetic_photos.write_mirflickr(f"{folder}/archives", FLAGS.num_images)
    total, peak = _run(folder)
    result = json.loads(pathlib.Path(folder, "run/result.json").read_text())
  seconds, counts = result["seconds"], result["counts"]
  known = sum(seconds.values())
  versions = ", ".join(f"{k} {v}" for k, v in result["versions"].items())
  rows = {
    "records, decoding, start, compilation of encoding": total - known,
    "one epoch of training, with its compilation": seconds["training"],
    "encoding queries and database": seconds["encoding"],
    f"evaluation of {counts['queries']:,} x {counts['database']:,}": seconds[
      "evaluation"
    ],
    "the whole command": total,
  }
  lines = [
    "# Real-size rehearsal",
    "",
    f"`python -m benchmarks.speed.rehearsal`: {FLAGS.num_images:,} JPEGs of"
    f" 500 x 375, stored at {FLAGS.image_size} pixels, ResNet-18 on"
    f" {FLAGS.image_size - 8}-pixel crops, {hardware.describe()},"
    f" load {os.getloadavg()[0]:.0f} at the end,"
    f" {time.strftime('%Y-%m-%d')}; {versions}.",
    "",
    "| what | seconds |",
    "| --- | ---: |",
    *(f"| {name} | {secs:.1f} |" for name, secs in rows.items()),
    "",
    f"Peak memory {peak:.2f} GiB.",
  ]
  _RESULT.write_text("\n".join(lines) + "\n")
  print("\n".join(lines))


if __name__ == "__main__":
  app.run(main)
