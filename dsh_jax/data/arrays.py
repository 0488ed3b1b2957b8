"""Arrays of decoded images on disk, built on first use.

A folder holds images.npy (uint8 [M,H,W,3]), labels.npy (uint8 [M,L]), info.json
(ids, groups, class names, counts, a checksum of each image) and the SHA-256 of
the last two. A damaged folder is built again. Processes that need the same
arrays build them one at a time.
"""

import contextlib
import fcntl
import hashlib
import json
import pathlib
import re
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from dsh_jax import errors, files
from dsh_jax.data import checked, decoding, splits
from dsh_jax.data import dataset as dataset_lib

_VERSION = 2  # Version of file format and decoding; a new one rebuilds.


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
) -> splits.Items:
  """Open the arrays of a data set, building them on first use.

  Arguments are as for `data.load_splits`; `num_threads` threads decode images
  (0: one per core).
  """
  options = options or {}
  key = dataset.key(manual_dir, **options)
  parent = pathlib.Path(data_dir) / "arrays"
  folder = parent / _file_name(f"{key}/{image_size}-{resize}-v{_VERSION}")
  items, _ = _try_to_open(folder)
  if items is not None:
    return items
  records = pathlib.Path(data_dir) / key
  try:
    parent.mkdir(parents=True, exist_ok=True)
    # One lock for all sizes, which share their records.
    with _lock(parent / f"{_file_name(key)}.lock"):
      # Another process may have built them meanwhile.
      items, problem = _try_to_open(folder)
      if items is not None:
        return items
      if problem:
        _report(f"{folder} is damaged ({problem}); building it again.")
        shutil.rmtree(folder)
      _remove_damaged(records)
      with dataset_lib.quiet():
        builder = dataset.create_builder(
          data_dir, manual_dir, max_missing, **options
        )
      dataset_lib.prepare(builder, manual_dir, dataset.by_tfds)
      if records.is_dir() and not (records / files.SEAL).exists():
        files.seal(records, *_small_files(records))
      decoding.build(dataset, builder, folder, image_size, resize, num_threads)
      return open_folder(folder)
  except (RuntimeError, KeyError) as error:  # From array_record and TFDS.
    raise errors.UserError(
      f"Cannot read the records in {records}: {errors.describe(error)}. Delete"
      " that folder and run again."
    ) from error
  except OSError as error:
    raise errors.UserError(
      f"Cannot prepare {folder}: {error}. Free space there, or change"
      " config.data.dir."
    ) from error


def _report(line):
  print(line, file=sys.stderr, flush=True)


def _remove_damaged(records):
  """Remove records whose metadata changed, so that they are built again."""
  if not (records / files.SEAL).exists():
    return
  try:
    files.check_seal(records, *_small_files(records))
  except (OSError, ValueError) as error:
    reason = errors.describe(error)
    _report(f"{records} is damaged ({reason}); building it again.")
    shutil.rmtree(records)


def _small_files(records):
  """Return the names of all files but records, which have checksums."""
  return sorted(
    path.name
    for path in records.iterdir()
    if ".array_record" not in path.name and path.name != files.SEAL
  )


def _file_name(key):
  digest = hashlib.sha256(key.encode()).hexdigest()[:8]
  return re.sub(r"[^\w.-]+", "-", key) + f"-{digest}"


def _try_to_open(folder: pathlib.Path) -> tuple[splits.Items | None, str]:
  """Return the items, or None and why they cannot be read, "" if absent."""
  if not folder.is_dir():
    return None, ""
  try:
    return open_folder(folder), ""
  # JSON and NumPy raise almost anything on damaged files.
  except Exception as error:
    return None, errors.describe(error)


def open_folder(folder: pathlib.Path) -> splits.Items:
  """Open a folder that `load` has built.

  Raises:
    Exception: Of any type, if its files are damaged.
  """
  files.check_seal(folder, *decoding.SEALED)
  info = json.loads((folder / "info.json").read_text())
  mapped = np.load(folder / "images.npy", mmap_mode="r", allow_pickle=False)
  labels = np.load(folder / "labels.npy", allow_pickle=False)
  if mapped.dtype != np.uint8 or list(mapped.shape) != info["shape"]:
    raise ValueError(f"images.npy is {mapped.dtype} of shape {mapped.shape}")
  images = checked.CheckedArray(
    mapped, np.array(info["checksums"], np.uint32), folder / "info.json"
  )
  return splits.Items(
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


def find(
  folder: pathlib.Path, ids: np.ndarray, class_names: Sequence[str]
) -> splits.Split | None:
  """Return items of a folder that `load` has built; None if it lacks them.

  Args:
    folder: The folder.
    ids: str [N].
    class_names: Names of the labels to return.
  """
  items, _ = _try_to_open(folder)
  if items is None:
    return None
  rows = {name: row for row, name in enumerate(items.ids.tolist())}
  columns = {name: column for column, name in enumerate(items.class_names)}
  try:
    chosen = np.array([rows[name] for name in ids.tolist()], np.int64)
    kept = np.array([columns[name] for name in class_names], np.int64)
  except KeyError:
    return None
  return splits.Split(items.images, chosen, items.labels[chosen][:, kept], ids)


@contextlib.contextmanager
def _lock(path: pathlib.Path) -> Iterator[None]:
  """Hold a file lock, which the system releases if this process dies."""
  with open(path, "w") as file:
    try:
      fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
      _report("Waiting for another process that is preparing the same data.")
      fcntl.flock(file, fcntl.LOCK_EX)
    yield
