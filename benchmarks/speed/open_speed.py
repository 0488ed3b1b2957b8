"""The cost of comparing prepared images with their checksums.

python -m benchmarks.speed.open_speed --images=193734 --size=256 --read=4096

Opens a sparse file of that many images with and without the checks, and reads
random batches from memory: unchecked, checked for the first time, and again.
"""

import json
import pathlib
import tempfile
import time
from collections.abc import Callable, Sequence

import numpy as np
from absl import flags

from benchmarks import hardware
from dsh_jax import files
from dsh_jax.apps import command
from dsh_jax.data import arrays, checked

_IMAGES = flags.DEFINE_integer("images", 193_734, "Images in the file.")
_SIZE = flags.DEFINE_integer("size", 256, "Side of an image, pixels.")
_READ = flags.DEFINE_integer("read", 4096, "Images to read, in batches of 128.")
_CLASSES = 81


def _write(folder: pathlib.Path, shape: tuple[int, ...]) -> None:
  """Write a folder as `arrays.load` leaves it, of black images."""
  with (folder / "images.npy").open("wb") as file:
    np.lib.format.write_array_header_2_0(
      file, {"descr": "|u1", "fortran_order": False, "shape": shape}
    )
    file.truncate(file.tell() + int(np.prod(shape, dtype=np.int64)))
  np.save(folder / "labels.npy", np.zeros((shape[0], _CLASSES), np.uint8))
  black = int(checked.checksums(np.zeros((1, *shape[1:]), np.uint8))[0])
  info = {
    "ids": [f"{row:08d}.jpg" for row in range(shape[0])],
    "checksums": [black] * shape[0],
    "together": [],
    "groups": {"all": list(range(shape[0]))},
    "class_names": [str(n) for n in range(_CLASSES)],
    "notes": {},
    "shape": shape,
  }
  (folder / "info.json").write_text(json.dumps(info))
  files.seal(folder, "info.json", "labels.npy")


def _secs(work: Callable[[], object]) -> float:
  started = time.process_time()
  work()
  return time.process_time() - started


def _run(argv: Sequence[str]) -> None:
  command.parse(argv, description=__doc__)
  shape = (_IMAGES.value, _SIZE.value, _SIZE.value, 3)
  with tempfile.TemporaryDirectory() as outer:
    folder = pathlib.Path(outer)
    _write(folder, shape)
    names = ("info.json", "labels.npy")
    checks = _secs(lambda: files.check_seal(folder, *names))
    opening = _secs(lambda: arrays.open_folder(folder))
    images = arrays.open_folder(folder).images
    plain = np.load(folder / "images.npy", mmap_mode="r")
    batches = np.random.default_rng(0).permutation(shape[0])
    batches = batches[: _READ.value // 128 * 128].reshape(-1, 128)

    def read(some):
      for rows in batches:
        some[rows]

    read(plain)  # Loads it from disk into memory.
    unchecked, first, again = (
      _secs(lambda some=some: read(some)) for some in (plain, images, images)
    )
    num_bytes = batches.size * int(np.prod(shape[1:]))
    per_gb = (first - unchecked) / num_bytes * 1e9
    whole = per_gb * int(np.prod(shape, dtype=np.int64)) / 1e9
    print(
      f"{shape[0]:,} images of {_SIZE.value} x {_SIZE.value}, on"
      f" {hardware.describe()}, CPU seconds: opened in {opening:.2f} s, of"
      f" which the SHA-256 of ids, labels and checksums {checks:.2f} s.\n"
      f"{batches.size:,} of them, {num_bytes / 1e9:.2f} GB, read from memory:"
      f" {unchecked:.2f} s unchecked, {first:.2f} s checked for the first time,"
      f" {again:.2f} s again.\nThe check costs {per_gb:.2f} s a GB,"
      f" {whole:.0f} s for all images, once, spread over the first epoch."
    )


if __name__ == "__main__":
  command.run(_run)
