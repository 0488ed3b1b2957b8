"""Decodes the images of a data set once into a memory-mapped array.

A folder of arrays has images.npy (uint8 [M,H,W,3]), labels.npy (uint8 [M,L]),
info.json (ids, groups, class names, counts, a checksum of each image) and the
SHA-256 of the last two. A damaged folder is built again. It is written under
another name and renamed when complete. A build that was killed resumes from its
last finished part; processes that need the same arrays build them one at a
time.
"""

import contextlib
import dataclasses
import fcntl
import hashlib
import json
import os
import pathlib
import re
import shutil
import sys
import threading
from collections.abc import Iterator, Mapping
from concurrent import futures
from typing import Any

import numpy as np

from dsh_jax import errors, files, parallel
from dsh_jax.data import checked, disk, progress
from dsh_jax.data import dataset as dataset_lib
from dsh_jax.data import images as images_lib

_VERSION = 2  # Of file format and decoding; a new version rebuilds.
_PART = 256  # Images that each thread loses when a build is killed.
_SEALED = ("info.json", "labels.npy")  # images.npy has checksums in the first.


@dataclasses.dataclass(frozen=True)
class Arrays:
  """A decoded data set.

  Attributes:
    images: uint8 [M,H,W,3], on disk; or features, float [M,F].
    labels: uint8 [M,L], 0 or 1.
    ids: str [M].
    groups: Name of a split of the builder, or of a list -> int64 rows, without
      unreadable images.
    class_names: Names of the L labels.
    notes: Numbers of "listed" images with a label, of the "absent" and
      "unreadable" ones among them, and of "unlabelled" images that were left
      out; "first_unreadable", id -> reason, at most ten.
    together: str [M], items of one name stay on one side of the splits that a
      protocol draws; None if none do.
    content_sha256: Of the pixels of all images, or of the features.
  """

  images: np.ndarray | checked.CheckedArray
  labels: np.ndarray
  ids: np.ndarray
  groups: Mapping[str, np.ndarray]
  class_names: tuple[str, ...]
  notes: Mapping[str, Any]
  together: np.ndarray | None = None
  content_sha256: str = ""


def load(
  dataset: dataset_lib.Dataset,
  *,
  data_dir: str,
  manual_dir: str = "",
  image_size: int,
  resize: str = "squash",
  max_missing: float = 0.01,
  options: Mapping[str, Any] | None = None,
  num_threads: int = 0,
) -> Arrays:
  """Open the arrays of a data set, building them on first use.

  Args:
    dataset: How to build and read it.
    data_dir: Folder of prepared data.
    manual_dir: Folder of archives that the user downloaded.
    image_size: H and W, pixels.
    resize: A rule of `images.RESIZE_RULES`.
    max_missing: Share of the listed images that may be absent, 0 to 1.
    options: Options of the data set.
    num_threads: Decoding threads (Pillow decodes without the GIL); 0 is one
      per core.
  """
  options = options or {}
  key = dataset.key(manual_dir, **options)
  folder = pathlib.Path(data_dir) / "arrays"
  final = folder / _file_name(f"{key}/{image_size}-{resize}-v{_VERSION}")
  # Arrays of another size come from the same records.
  lock = folder / f"{_file_name(key)}.lock"
  found, _ = _try_to_open(final)
  if found is not None:
    return found
  try:
    folder.mkdir(parents=True, exist_ok=True)
    with _lock(lock):
      # Another process may have built them meanwhile.
      found, problem = _try_to_open(final)
      if found is not None:
        return found
      if problem:
        print(
          f"Prepared data in {final} are damaged ({problem}); they are built"
          " again.",
          file=sys.stderr,
          flush=True,
        )
        shutil.rmtree(final)
      records = pathlib.Path(data_dir) / key
      _remove_damaged(records)
      with dataset_lib.quiet():
        builder = dataset.create_builder(
          data_dir, manual_dir, max_missing, **options
        )
      dataset_lib.prepare(builder, manual_dir, dataset.by_tfds)
      if records.is_dir() and not (records / files.SEAL).exists():
        files.seal(records, *_small_files(records))
      _build(dataset, builder, final, image_size, resize, num_threads)
      return open_folder(final)
  except (RuntimeError, KeyError) as error:  # Of array_record, of TFDS.
    raise errors.UserError(
      f"Cannot read the records in {records}: {errors.describe(error)}. Delete"
      " that folder and run again."
    ) from error
  except OSError as error:
    raise errors.UserError(
      f"Cannot prepare {final}: {error}. Free space there, or change"
      " config.data.dir."
    ) from error


def _remove_damaged(records):
  """Remove records whose description has changed; they are made again."""
  if not (records / files.SEAL).exists():
    return
  try:
    files.check_seal(records, *_small_files(records))
  except (OSError, ValueError) as error:
    print(
      f"Records in {records} are damaged ({errors.describe(error)}); they are"
      " made again.",
      file=sys.stderr,
      flush=True,
    )
    shutil.rmtree(records)


def _small_files(records):
  """Return the names of files that are not records, which have checksums."""
  return sorted(
    path.name
    for path in records.iterdir()
    if ".array_record" not in path.name and path.name != files.SEAL
  )


def _file_name(key):
  digest = hashlib.sha256(key.encode()).hexdigest()[:8]
  return re.sub(r"[^\w.-]+", "-", key) + f"-{digest}"


def _try_to_open(final: pathlib.Path) -> tuple[Arrays | None, str]:
  """Return the arrays, or None and why they cannot be read, "" if absent."""
  if not final.is_dir():
    return None, ""
  try:
    return open_folder(final), ""
  # JSON and NumPy raise almost anything on damaged files.
  except Exception as error:
    return None, errors.describe(error)


def open_folder(final: pathlib.Path) -> Arrays:
  """Open a folder that `load` has built.

  Raises:
    Exception: Of any type, if its files are damaged.
  """
  files.check_seal(final, *_SEALED)
  info = json.loads((final / "info.json").read_text())
  mapped = np.load(final / "images.npy", mmap_mode="r", allow_pickle=False)
  labels = np.load(final / "labels.npy", allow_pickle=False)
  if mapped.dtype != np.uint8 or list(mapped.shape) != info["shape"]:
    raise ValueError(f"images.npy is {mapped.dtype} of shape {mapped.shape}")
  images = checked.CheckedArray(
    mapped, np.array(info["checksums"], np.uint32), final / "info.json"
  )
  return Arrays(
    images=images,
    labels=labels,
    ids=np.array(info["ids"], dtype=str),
    groups={
      group: np.array(rows, np.int64) for group, rows in info["groups"].items()
    },
    class_names=tuple(info["class_names"]),
    notes=info["notes"],
    together=np.array(info["together"]) if info["together"] else None,
    content_sha256=images.sha256,
  )


def _build(dataset, builder, final, image_size, resize, num_threads):
  """Decode all images into `final`."""
  names = dataset.splits or tuple(builder.info.splits)
  lengths = [builder.info.splits[name].num_examples for name in names]
  offsets = np.cumsum([0, *lengths])
  total = int(offsets[-1])
  class_names = dataset.class_names(builder)
  partial = final.with_name(f"{final.name}.partial")
  partial.mkdir(exist_ok=True)
  images = _create_images(partial, total, image_size)
  local = threading.local()

  def build_part(part):
    path = partial / f"part{part:06d}.json"
    first, last = part * _PART, min((part + 1) * _PART, total)
    if _read_part(path):
      return last - first
    if not hasattr(local, "sources"):
      local.sources = dataset_lib.open_sources(builder, names)
    rows = []
    for row in range(first, last):
      split = int(np.searchsorted(offsets, row, "right")) - 1
      example = local.sources[split][int(row - offsets[split])]
      encoded, item, labels = dataset.read(example)
      problem = ""
      try:
        images[row] = images_lib.decode(encoded, image_size, resize)
      except images_lib.UnreadableError as error:
        problem = str(error)
      checksum = int(checked.checksums(images[row : row + 1])[0])
      rows.append((row, item, sorted(set(labels)), problem, checksum))
    with files.replacing(path) as unfinished:
      unfinished.write_text(json.dumps(rows))
    return last - first

  parts = range(-(-total // _PART))
  title = f"{builder.name}: decoding {total:,} images"
  with progress.bar(title, total) as update:
    for count in _map_threads(build_part, parts, num_threads):
      update(count)
  images.flush()

  items = []
  for part in parts:
    items.extend(_read_part(partial / f"part{part:06d}.json"))
  labels = np.zeros((total, len(class_names)), np.uint8)
  for row, _, numbers, *_ in items:
    labels[row, numbers] = 1
  np.save(partial / "labels.npy", labels, allow_pickle=False)
  info = _create_info(builder, names, offsets, items, class_names)
  info["shape"] = images.shape
  (partial / "info.json").write_text(json.dumps(info))
  files.seal(partial, *_SEALED)
  # Including parts whose writing was interrupted.
  for path in partial.glob("part*"):
    path.unlink()
  partial.rename(final)


def _read_part(path):
  """Return the rows of a finished part, [] if it is not there or damaged."""
  try:
    return json.loads(path.read_text())
  except (OSError, ValueError):
    return []


def _create_images(partial, total, image_size):
  """Open images.npy with all its disk blocks reserved.

  A memory-mapped write to a full disk kills the process; reserving the blocks
  raises an error instead.
  """
  path = partial / "images.npy"
  shape = (total, image_size, image_size, 3)
  if path.exists():
    with contextlib.suppress(ValueError, EOFError):
      images = np.load(path, mmap_mode="r+", allow_pickle=False)
      if images.shape == shape and images.dtype == np.uint8:
        return images
  for part in partial.glob("part*"):
    part.unlink()
  path.unlink(missing_ok=True)
  size = int(np.prod(shape, dtype=np.int64))
  disk.check_space(partial, size, f"{total:,} images of {image_size} pixels")
  temporary = path.with_name("images.reserved")
  try:
    _reserve(temporary, shape)
  except OSError:
    temporary.unlink()
    raise
  temporary.rename(path)
  return np.load(path, mmap_mode="r+", allow_pickle=False)


def _reserve(path, shape):
  """Write a .npy file of zeros with all its disk blocks allocated."""
  with open(path, "wb") as file:
    np.lib.format.write_array_header_2_0(
      file,
      {"descr": "|u1", "fortran_order": False, "shape": shape},
    )
    file.flush()
    size = int(np.prod(shape, dtype=np.int64))
    if hasattr(os, "posix_fallocate"):
      os.posix_fallocate(file.fileno(), file.tell(), size)
    else:  # Not on macOS.
      file.truncate(file.tell() + size)


def _create_info(builder, names, offsets, items, class_names):
  """Return the contents of info.json.

  Items are (row, id, labels, problem, checksum).
  """
  ids = [item for _, item, *_ in items]
  if len(set(ids)) < len(ids):
    raise errors.UserError(f"{builder.name} has two images with one id.")
  groups = {
    name: [
      row
      for row, _, _, problem, _ in items[offsets[split] : offsets[split + 1]]
      if not problem
    ]
    for split, name in enumerate(names)
  }
  rows = {item: row for row, item, _, problem, _ in items if not problem}
  for name, members in getattr(builder, "groups", {}).items():
    groups[name] = [rows[item] for item in members if item in rows]
  problems = {item: problem for _, item, _, problem, _ in items if problem}
  metadata = builder.info.metadata or {}
  absent = int(metadata.get("absent", 0))
  notes = {
    "listed": len(items) + absent,
    "absent": absent,
    "unlabelled": int(metadata.get("unlabelled", 0)),
    "unreadable": len(problems),
    "first_unreadable": dict(list(problems.items())[:10]),
  }
  together = getattr(builder, "together", {})
  return {
    "ids": ids,
    "checksums": [checksum for *_, checksum in items],
    "together": [together[item] for item in ids] if together else [],
    "groups": groups,
    "class_names": class_names,
    "notes": notes,
  }


def _map_threads(function, values, num_threads):
  """Yield function(value) of every value in order of completion."""
  pool = futures.ThreadPoolExecutor(
    num_threads or parallel.num_cores(), thread_name_prefix="decode"
  )
  try:
    tasks = [pool.submit(function, value) for value in values]
    for task in futures.as_completed(tasks):
      yield task.result()
  finally:
    pool.shutdown(cancel_futures=True)


@contextlib.contextmanager
def _lock(path: pathlib.Path) -> Iterator[None]:
  """Hold a file lock, which the system releases if this process dies."""
  with open(path, "w") as file:
    try:
      fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
      print(
        "Waiting for another process that is preparing the same data.",
        file=sys.stderr,
        flush=True,
      )
      fcntl.flock(file, fcntl.LOCK_EX)
    yield
