"""The embedded data set: scenes of one to four handwritten digits.

The 1,797 scans of 8 x 8 pixels (UCI ML Repository, Alpaydin and Kaynak 1998)
come with scikit-learn.
"""

import io
from collections.abc import Iterator

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

from dsh_jax.data import dataset, protocols

SIDE = 48
CLASS_NAMES = tuple(str(digit) for digit in range(10))
_COUNTS = {"train": 4000, "validation": 500, "query": 500, "database": 10000}
# Shares of the scans; no scan is in two of the three groups.
_SCANS = {
  "train": (0.0, 0.6),
  "validation": (0.6, 0.7),
  "query": (0.7, 1.0),
  "database": (0.7, 1.0),
}
# Cumulative probabilities of 1, 2 and 3 digits; 4 digits have the last 0.2.
_NUM_DIGITS = (0.2, 0.5, 0.8)


class DshDigits(tfds.core.GeneratorBasedBuilder):
  """The scenes, the same on every machine."""

  VERSION = tfds.core.Version("1.0.0")

  def _info(self) -> tfds.core.DatasetInfo:
    return dataset.create_info(
      self,
      CLASS_NAMES,
      description=__doc__,
      homepage="https://scikit-learn.org/stable/datasets/toy_dataset.html",
    )

  def _split_generators(self, dl_manager) -> dict[str, Iterator]:
    del dl_manager  # Nothing is downloaded.
    return {name: self._generate_examples(name) for name in _COUNTS}

  def _generate_examples(self, split: str) -> Iterator:
    scans = load_scans(split)
    rng = np.random.default_rng([1, list(_COUNTS).index(split)])
    for index in range(_COUNTS[split]):
      image, labels = compose(rng, scans)
      buffer = io.BytesIO()
      Image.fromarray(image).save(buffer, "PNG", compress_level=0)
      yield (
        index,
        {
          "image": buffer.getvalue(),
          "labels": labels,
          "id": f"{split}/{index:05d}",
        },
      )


def compose(
  rng: np.random.Generator, scans: list[list[tuple[np.ndarray, ...]]]
) -> tuple[np.ndarray, list[int]]:
  """Draw a scene: different digits, one per quadrant, on a noisy background.

  Returns:
    uint8 [48,48,3] and the sorted digits of the scene.
  """
  scene = _draw_background(rng, SIDE)
  num_digits = 1 + int(np.searchsorted(_NUM_DIGITS, rng.random(), "right"))
  labels = rng.permutation(10)[:num_digits].tolist()
  quadrants = rng.permutation(4)[:num_digits].tolist()
  half = SIDE // 2
  for digit, quadrant in zip(labels, quadrants, strict=True):
    top, left = half * (quadrant // 2), half * (quadrant % 2)
    _draw_scan(rng, scans[digit], scene[top : top + half, left : left + half])
  return scene.clip(0, 255).astype(np.uint8), sorted(labels)


def compose_single(
  rng: np.random.Generator, scans: list[list[tuple[np.ndarray, ...]]], side: int
) -> tuple[np.ndarray, int]:
  """Draw one digit at a random place, in the style of a scene.

  Returns:
    uint8 [side,side,3], side >= 24, and the digit.
  """
  picture = _draw_background(rng, side)
  digit = int(rng.integers(10))
  _draw_scan(rng, scans[digit], picture)
  return picture.clip(0, 255).astype(np.uint8), digit


def _draw_background(rng, side):
  background = rng.random((side, side, 3), np.float32)
  background *= 70
  background += rng.random(3, np.float32) * 90 - 35
  return background


def _draw_scan(rng, scans, area):
  """Draw a random scan of a digit at a random place of a square area."""
  sizes = scans[rng.integers(len(scans))]
  ink = sizes[rng.integers(len(sizes))]
  top, left = rng.integers(0, len(area) - len(ink) + 1, 2)
  window = area[top : top + len(ink), left : left + len(ink)]
  colour = rng.random(3, np.float32) * 155 + 100
  window += ink * (colour - window)


def load_scans(split: str) -> list[list[tuple[np.ndarray, ...]]]:
  """Return the scans that the scenes of a split are drawn from.

  Args:
    split: "train", "validation", "query" or "database"; the last two share
      their scans, all others differ.

  Returns:
    The scans of each digit; a scan is a pair of float32 arrays, [16,16,1] and
    [24,24,1], from 0 (paper) to 1 (ink).
  """
  first, last = _SCANS[split]
  from sklearn import datasets  # Slow; only the build needs it.

  scans, digits = datasets.load_digits(return_X_y=True)
  scans = scans.reshape(-1, 8, 8, 1).astype(np.float32) / 16
  large = [scans.repeat(n, axis=1).repeat(n, axis=2) for n in (2, 3)]
  chosen = []
  for digit in range(10):
    rows = np.flatnonzero(digits == digit)
    rows = rows[round(first * len(rows)) : round(last * len(rows))]
    chosen.append([tuple(sizes[row] for sizes in large) for row in rows])
  return chosen


def _key(manual_dir: str) -> str:
  del manual_dir
  return f"dsh_digits/{DshDigits.VERSION}"


def _create_builder(
  data_dir: str, manual_dir: str, max_missing: float
) -> DshDigits:
  del manual_dir, max_missing
  return DshDigits(data_dir=data_dir, file_format="array_record")


DATASET = dataset.Dataset(
  key=_key,
  create_builder=_create_builder,
  protocols={
    "digits": protocols.Protocol(
      train=("train",),
      validation=("validation",),
      query=("query",),
      database=("database",),
      source="the scenes themselves",
    )
  },
  unused_fields=("manual_dir", "max_missing", "resize"),
)
