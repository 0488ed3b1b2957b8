"""An index: codes, ids of their images, and the run that encoded them.

`codes.npz` of a run is an index of its database; `encode` writes others.
"""

import dataclasses
import functools
import json
import pathlib

import numpy as np

from dsh_jax import data, errors, files
from dsh_jax.apps import image_files
from dsh_jax.config import factories, fields
from dsh_jax.data import images
from dsh_jax.retrieval import codes, neighbors

_SHOWN = 160  # Side of the images on a page, pixels.


@dataclasses.dataclass(frozen=True)
class Index:
  """Codes of N images.

  Attributes:
    codes: uint32 [N,ceil(K/32)].
    ids: str [N]; paths of images, or ids of the run's data set.
    num_bits: K.
    workdir: Folder of the run that encoded them.
    root: Folder that ids are relative to; "" for ids of the run's data set.
  """

  codes: np.ndarray
  ids: np.ndarray
  num_bits: int
  workdir: str
  root: str

  def __len__(self) -> int:
    return len(self.ids)

  def nearest(self, code: np.ndarray, count: int) -> list[tuple[int, int]]:
    """Return (distance, row) of the nearest images, ties by lowest row.

    Args:
      code: uint32 [ceil(K/32)].
      count: Number of results, at least 1; all if there are fewer.
    """
    distances, rows = neighbors.top_k(
      code[np.newaxis], self.codes, min(count, len(self))
    )
    return list(zip(distances[0].tolist(), rows[0].tolist(), strict=True))

  def picture(self, row: int) -> tuple[bytes, str]:
    """Return the image of a row, 0 to N-1: bytes and media type."""
    if not self.root:
      return image_files.thumbnail(self._split.take(np.array([row]))[0])
    path = pathlib.Path(self.root, str(self.ids[row]))
    try:
      return image_files.thumbnail(image_files.read(path, _SHOWN, "crop"))
    except images.UnreadableError as error:
      raise errors.UserError(f"Cannot show {path}: {error}.") from error

  @functools.cached_property
  def _split(self) -> data.Split:
    """The database of the run's data set."""
    path = pathlib.Path(self.workdir, "config.json")
    try:
      held = json.loads(path.read_text())
    except (OSError, ValueError) as error:
      raise errors.UserError(
        f"Cannot read the run of the index: {error}. Change --workdir."
      ) from error
    split = factories.load_splits(fields.unflatten(held)).database
    if not np.array_equal(split.ids, self.ids):
      raise errors.UserError(
        "The run's data set is not that of the index, so its images cannot be"
        " shown."
      )
    return split


def load(path: str, workdir: str = "") -> Index:
  """Read an index.

  Args:
    path: codes.npz of a run, or the output of `dsh_jax.apps.encode`.
    workdir: Folder of the run, if it has been moved.
  """
  file = pathlib.Path(path).expanduser()
  try:
    saved = files.read_arrays(file)
    num_bits = int(saved["num_bits"])
    packed = codes.check(saved["database_codes"], num_bits, "index's codes")
    ids = saved["database_ids"]
    root = str(saved["root"]) if "root" in saved else ""
    held = str(saved["workdir"]) if "workdir" in saved else str(file.parent)
  # A .npy file raises the last.
  except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
    raise errors.UserError(
      f"--index={path} cannot be read as an index: {errors.describe(error)}."
      " Give codes.npz of a run, or the output of python -m dsh_jax encode."
    ) from error
  if not 0 < len(ids) == len(packed):
    raise errors.UserError(
      f"--index={path} has {len(packed)} codes and {len(ids)} ids; it must"
      " have one of each for at least one image."
    )
  return Index(packed, ids, num_bits, workdir or held, root)


def load_encoder(index: Index) -> image_files.RunEncoder:
  """Return the encoder of queries for an index, one image at a time."""
  encoder = image_files.RunEncoder(index.workdir, batch_size=1)
  if encoder.num_bits != index.num_bits:
    raise errors.UserError(
      f"The index has {index.num_bits} bits, the run of --workdir="
      f"{index.workdir} {encoder.num_bits}. Give the run that encoded it."
    )
  return encoder
