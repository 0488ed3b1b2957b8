"""Makes JPEGs of 500 x 375 in the layout of MIRFLICKR-25K, to measure with.

python -m benchmarks.speed.synthetic_photos --folder=photos --num_images=20000

Shapes on textured ground, as large as real photographs (about 110 kB each).
Labels name the shapes, so that a network can learn something. The
folder is then read by:

python -m dsh_jax.main --config=configs/mirflickr25k.py \\
  --config.data.manual_dir=photos --config.data.num_images=20000
"""

import io
import pathlib
from collections.abc import Sequence
from concurrent import futures

import numpy as np
from absl import app, flags
from PIL import Image, ImageDraw, ImageFilter

from benchmarks import hardware
from dsh_jax.data import mirflickr25k

WIDTH, HEIGHT = 500, 375
_NUM_TEXTURES = 16


def write_mirflickr(folder: str, num_images: int) -> None:
  """Write images and label files.

  Args:
    folder: The download folder to make; existing files are overwritten.
    num_images: Number of images.
  """
  root = pathlib.Path(folder)
  (root / "mirflickr").mkdir(parents=True, exist_ok=True)
  annotations = root / "mirflickr25k_annotations_v080"
  annotations.mkdir(exist_ok=True)
  textures = [_create_texture(seed) for seed in range(_NUM_TEXTURES)]

  def write_one(number):
    labels = _labels_of(number)
    encoded = _create_photo(number, labels, textures)
    (root / "mirflickr" / f"im{number}.jpg").write_bytes(encoded)
    return labels

  with futures.ThreadPoolExecutor(len(hardware.cores())) as pool:
    labels = list(pool.map(write_one, range(1, num_images + 1)))
  for label, name in enumerate(mirflickr25k.CLASS_NAMES):
    lines = [
      f"{number}\n" for number, row in enumerate(labels, 1) if label in row
    ]
    (annotations / f"{name}.txt").write_text("".join(lines))


def _labels_of(number: int) -> list[int]:
  rng = np.random.default_rng([number, 0])
  count = rng.integers(1, 6)
  num_labels = len(mirflickr25k.CLASS_NAMES)
  # Squared, so that some labels are frequent and some rare, as in life.
  return sorted({int(u**2 * num_labels) for u in rng.random(count)})


def _create_texture(seed: int) -> Image.Image:
  rng = np.random.default_rng([seed, 1])
  noise = rng.integers(0, 256, (2 * HEIGHT, 2 * WIDTH, 3), np.uint8)
  fine = Image.fromarray(noise).filter(ImageFilter.GaussianBlur(0.7))
  coarse = Image.fromarray(noise[::40, ::40]).resize(fine.size)
  return Image.blend(fine, coarse, 0.4)


def _create_photo(
  number: int, labels: Sequence[int], textures: Sequence[Image.Image]
) -> bytes:
  """Return a JPEG; each label has its own colour, shape and size."""
  rng = np.random.default_rng([number, 2])
  left, top = int(rng.integers(0, WIDTH)), int(rng.integers(0, HEIGHT))
  photo = textures[number % len(textures)].crop(
    (left, top, left + WIDTH, top + HEIGHT)
  )
  draw = ImageDraw.Draw(photo)
  for label in labels:
    x, y = int(rng.integers(0, WIDTH - 120)), int(rng.integers(0, HEIGHT - 120))
    colour = tuple(
      int(v) for v in np.random.default_rng(label).integers(256, size=3)
    )
    corners = (x, y, x + 60 + label, y + 120 - label)
    shape = (draw.ellipse, draw.rectangle)[label % 2]
    shape(corners, fill=colour)
  buffer = io.BytesIO()
  photo.save(buffer, "JPEG", quality=90)
  return buffer.getvalue()


def main(argv: Sequence[str]) -> None:
  """Write the folder that the flags ask for."""
  del argv
  write_mirflickr(flags.FLAGS.folder, flags.FLAGS.num_images)


if __name__ == "__main__":
  # Here, because scripts that import this one define their own flags.
  flags.DEFINE_string("folder", None, "Folder to write.", required=True)
  flags.DEFINE_integer("num_images", 20000, "Number of images.")
  app.run(main)
