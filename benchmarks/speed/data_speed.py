"""Speed of data preparation: records, decoding, gathering batches.

python -m benchmarks.speed.data_speed --num_images=10000

Synthetic JPEGs of 500 x 375 (about 85 kB) are made in a temporary folder,
copied into records, decoded and resized to 256 pixels, once with one thread
and once with one per core, and gathered into batches. Decoding alone is also
measured from memory, and with OpenCV where it is installed. Results go to
benchmarks/results/data_speed.json. On a busy machine, look at the
images per second of processor time.
"""

import importlib.util
import json
import os
import pathlib
import resource
import tempfile
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from absl import app, flags

from benchmarks import hardware
from benchmarks.speed import synthetic_photos
from dsh_jax import data
from dsh_jax.data import arrays, batches, images

FLAGS = flags.FLAGS
flags.DEFINE_integer("num_images", 10000, "Number of images.")
flags.DEFINE_integer("image_size", 256, "Side of the decoded images.")
flags.DEFINE_string("temporary", None, "Folder for temporary files.")

_RESULT = pathlib.Path(__file__).parents[1] / "results" / "data_speed.json"
_BATCH = 128
_IN_MEMORY = 500  # Photographs decoded from memory.


def measure(folder: str, num_images: int, image_size: int) -> dict[str, Any]:
  """Return the seconds and images/s of every stage.

  Args:
    folder: An empty folder.
    num_images: Number of images.
    image_size: H and W.
  """
  archives, prepared = f"{folder}/archives", f"{folder}/data"
  dataset = data.DATASETS["mirflickr25k"]
  options = {"num_images": num_images}
  cores = len(hardware.cores())
  stages = {}

  def build(size, num_threads):
    arrays.load(
      dataset,
      data_dir=prepared,
      manual_dir=archives,
      image_size=size,
      options=options,
      num_threads=num_threads,
    )

  def time_stage(name: str, count: int, function: Callable[[], Any]) -> None:
    wall, processor = time.monotonic(), time.process_time()
    function()
    wall = time.monotonic() - wall
    processor = time.process_time() - processor
    stages[name] = {
      "images": count,
      "secs": round(wall, 2),
      "images_per_sec": round(count / wall),
      "processor_secs": round(processor, 2),
      "images_per_processor_sec": round(count / processor),
    }
    print(f"{name}: {stages[name]}", flush=True)

  time_stage(
    "make the photographs",
    num_images,
    lambda: synthetic_photos.write_mirflickr(archives, num_images),
  )
  # At 8 pixels, JPEGs are decoded at 1/8: nearly all of it is copying.
  time_stage("records, and decode at 1/8", num_images, lambda: build(8, 0))
  time_stage(
    f"decode to {image_size}, {cores} threads",
    num_images,
    lambda: build(image_size, 0),
  )
  time_stage(
    f"decode to {image_size - 1}, 1 thread",
    num_images,
    lambda: build(image_size - 1, 1),
  )
  for name, decode in _decoders(image_size).items():
    encoded = _read(archives, min(num_images, _IN_MEMORY))
    time_stage(
      f"{name} from memory to {image_size}, 1 thread",
      len(encoded),
      lambda decode=decode, encoded=encoded: [decode(x) for x in encoded],
    )
  pixels = arrays.load(
    dataset,
    data_dir=prepared,
    manual_dir=archives,
    image_size=image_size,
    options=options,
  ).images
  steps = num_images // _BATCH

  def gather():
    for step in range(steps):
      rows = batches.batch_indices(0, step, num_images, _BATCH)
      np.asarray(pixels[rows])

  time_stage("gather batches of 128", steps * _BATCH, gather)
  return stages


def _read(archives: str, count: int) -> list[bytes]:
  folder = pathlib.Path(archives, "mirflickr")
  return [(folder / f"im{n}.jpg").read_bytes() for n in range(1, count + 1)]


def _decoders(size: int) -> dict[str, Callable[[bytes], Any]]:
  """Return our decoder, and OpenCV's if it is installed."""
  decoders = {"Pillow": lambda encoded: images.decode(encoded, size)}
  if importlib.util.find_spec("cv2"):
    import cv2

    cv2.setNumThreads(1)
    decoders["OpenCV"] = lambda encoded: cv2.resize(
      cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_COLOR_RGB),
      (size, size),
      interpolation=cv2.INTER_AREA,
    )
  return decoders


def main(argv: Sequence[str]) -> None:
  """Measure, print, and write the results file."""
  del argv
  load = os.getloadavg()[0]
  with tempfile.TemporaryDirectory(dir=FLAGS.temporary) as folder:
    stages = measure(folder, FLAGS.num_images, FLAGS.image_size)
  result = {
    "hardware": hardware.describe(),
    "load_before": round(load, 1),
    "peak_memory_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    // 1024,
    "stages": stages,
  }
  _RESULT.parent.mkdir(exist_ok=True)
  _RESULT.write_text(json.dumps(result, indent=2) + "\n")
  print(f"Wrote {_RESULT}.")


if __name__ == "__main__":
  app.run(main)
