"""Decode the images of a data set in parallel into a folder of arrays.

A killed build resumes from its last finished part.
"""

import contextlib
import json
import os
import pathlib
import threading
from concurrent import futures

import numpy as np
import tensorflow_datasets as tfds

from dsh_jax import errors, files, parallel
from dsh_jax.data import checked, dataset, disk, images, progress

_PART = 256  # Images that each thread loses when a build is killed.
SEALED = ("info.json", "labels.npy")  # The first has checksums of images.npy.


def build(
  data: dataset.Dataset,
  builder: tfds.core.DatasetBuilder,
  folder: pathlib.Path,
  image_size: int,
  resize: str,
  num_threads: int,
) -> None:
  """Decode all images of a prepared builder; see `arrays.load`.

  `folder` appears when it is complete.
  """
  names = data.splits or tuple(builder.info.splits)
  lengths = [builder.info.splits[name].num_examples for name in names]
  offsets = np.cumsum([0, *lengths])
  total = int(offsets[-1])
  class_names = data.class_names(builder)
  partial = folder.with_name(f"{folder.name}.partial")
  partial.mkdir(exist_ok=True)
  pixels = _create_images(partial, total, image_size)
  local = threading.local()

  def build_part(part):
    path = partial / f"part{part:06d}.json"
    first, last = part * _PART, min((part + 1) * _PART, total)
    if _read_part(path):
      return last - first
    if not hasattr(local, "sources"):
      local.sources = dataset.open_sources(builder, names)
    rows = []
    for row in range(first, last):
      split = int(np.searchsorted(offsets, row, "right")) - 1
      example = local.sources[split][int(row - offsets[split])]
      encoded, item, labels = data.read(example)
      problem = ""
      try:
        pixels[row] = images.decode(encoded, image_size, resize)
      except images.UnreadableError as error:
        problem = str(error)
      checksum = int(checked.checksums(pixels[row : row + 1])[0])
      rows.append((row, item, sorted(set(labels)), problem, checksum))
    with files.replacing(path) as unfinished:
      unfinished.write_bytes(files.with_seal({"rows": rows}))
    return last - first

  parts = range(-(-total // _PART))
  title = f"{builder.name}: decoding {total:,} images"
  with (
    futures.ThreadPoolExecutor(num_threads or parallel.num_cores()) as pool,
    progress.bar(title, total) as update,
  ):
    for count in pool.map(build_part, parts):
      update(count)
  pixels.flush()

  rows = []
  for part in parts:
    rows.extend(_read_part(partial / f"part{part:06d}.json"))
  labels = np.zeros((total, len(class_names)), np.uint8)
  for row, _, numbers, *_ in rows:
    labels[row, numbers] = 1
  np.save(partial / "labels.npy", labels, allow_pickle=False)
  info = _create_info(builder, names, offsets, rows)
  info |= {"class_names": class_names, "shape": pixels.shape}
  (partial / "info.json").write_text(json.dumps(info))
  files.seal(partial, *SEALED)
  for path in partial.glob("*part*"):  # Also what killed builds left.
    path.unlink()
  partial.rename(folder)


def _read_part(path):
  """Return the rows of a finished part, [] if it is absent or damaged."""
  try:
    content, has_seal = files.read_sealed(path)
  except (OSError, ValueError):
    return []
  return content["rows"] if has_seal else []


def _create_images(partial, total, image_size):
  """Open images.npy with all its disk blocks reserved.

  A memory-mapped write to a full disk kills the process; reserving the blocks
  raises an error instead.
  """
  path = partial / "images.npy"
  shape = (total, image_size, image_size, 3)
  if path.exists():
    with contextlib.suppress(ValueError, EOFError):
      pixels = np.load(path, mmap_mode="r+", allow_pickle=False)
      if pixels.shape == shape and pixels.dtype == np.uint8:
        return pixels
  for part in partial.glob("*part*"):
    part.unlink()
  path.unlink(missing_ok=True)
  num_bytes = int(np.prod(shape, dtype=np.int64))
  what = f"{total:,} images of {image_size} pixels"
  disk.check_space(partial, num_bytes, what)
  with files.replacing(path) as reserved, reserved.open("wb") as file:
    np.lib.format.write_array_header_2_0(
      file, {"descr": "|u1", "fortran_order": False, "shape": shape}
    )
    file.flush()
    if hasattr(os, "posix_fallocate"):
      os.posix_fallocate(file.fileno(), file.tell(), num_bytes)
    else:  # macOS has none.
      file.truncate(file.tell() + num_bytes)
  return np.load(path, mmap_mode="r+", allow_pickle=False)


def _create_info(builder, names, offsets, rows):
  """Return ids, checksums, groups and notes for info.json.

  `rows` are (row, id, labels, problem, checksum), `offsets` the first of each
  split.
  """
  ids = [item for _, item, *_ in rows]
  if len(set(ids)) < len(ids):
    raise errors.UserError(f"{builder.name} has two images with one id.")
  groups = {
    name: [
      row
      for row, _, _, problem, _ in rows[offsets[split] : offsets[split + 1]]
      if not problem
    ]
    for split, name in enumerate(names)
  }
  readable = {item: row for row, item, _, problem, _ in rows if not problem}
  for name, members in getattr(builder, "groups", {}).items():
    groups[name] = [readable[item] for item in members if item in readable]
  problems = {item: problem for _, item, _, problem, _ in rows if problem}
  metadata = builder.info.metadata or {}
  absent = int(metadata.get("absent", 0))
  together = getattr(builder, "together", {})
  return {
    "ids": ids,
    "checksums": [checksum for *_, checksum in rows],
    "together": [together[item] for item in ids] if together else [],
    "groups": groups,
    "notes": {
      "listed": len(rows) + absent,
      "absent": absent,
      "unlabelled": int(metadata.get("unlabelled", 0)),
      "unreadable": len(problems),
      "first_unreadable": dict(list(problems.items())[:10]),
    },
  }
