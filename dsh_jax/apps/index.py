"""An index: codes, ids of their images, and the run that encoded them.

`codes.npz` of a run is an index of its database; `encode` writes others.
"""

import dataclasses
import functools
import logging
import pathlib

import numpy as np

from dsh_jax import data, errors, files, models
from dsh_jax.apps import image_files
from dsh_jax.config import factories, fields
from dsh_jax.data import images
from dsh_jax.retrieval import codes, neighbors
from dsh_jax.runs import workdir as workdir_lib

_TEXTS = ("workdir", "root", "encoder_sha256")
# Of arrays of an index: dimensions and kinds of type.
_KINDS = {
  "num_bits": (0, "iu"),
  "database_codes": (2, "u"),
  "database_ids": (1, "U"),
} | {name: (0, "U") for name in _TEXTS}
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
    encoder_sha256: That of the run's weights and preprocessing, see
      `trained.TrainedRun`; "" of version 0.1.
  """

  codes: np.ndarray
  ids: np.ndarray
  num_bits: int
  workdir: str
  root: str
  encoder_sha256: str = ""

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

  @functools.cached_property
  def has_pictures(self) -> bool:
    """Whether the run was trained on images, and not on features."""
    config = workdir_lib.Workdir(self.workdir).read_json("config.json")
    # None if the run has been moved; `picture` says so.
    return (config or {}).get("model.backbone") != models.VECTORS

  def row_of(self, name: str) -> int | None:
    """Return the row of an id; None if there is none."""
    rows = np.flatnonzero(self.ids == name)
    return int(rows[0]) if len(rows) else None

  def picture(self, row: int) -> tuple[bytes, str]:
    """Return the image of a row, 0 to N-1: bytes and media type."""
    if not self.has_pictures:
      raise errors.UserError("The items of the index are features.")
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
    held = workdir_lib.Workdir(self.workdir).read_json("config.json")
    if held is None:
      raise errors.UserError(
        f"The run of the index is not in {self.workdir}. Change --workdir."
      )
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
    if not isinstance(saved, dict):
      raise ValueError("it is a .npy file")
    for name, kind in _KINDS.items():
      if name in saved and (
        saved[name].ndim != kind[0] or saved[name].dtype.kind not in kind[1]
      ):
        raise ValueError(
          f"{name} is {saved[name].dtype} of shape {saved[name].shape}"
        )
    num_bits = int(saved["num_bits"])
    packed = codes.check(saved["database_codes"], num_bits, "index's codes")
    ids = saved["database_ids"]
    texts = {name: str(saved.get(name, "")) for name in _TEXTS}
  except KeyError as error:
    raise _unreadable(path, f"it has no array {error}") from error
  except (OSError, ValueError) as error:
    raise _unreadable(path, errors.describe(error)) from error
  if not 0 < len(ids) == len(packed):
    raise errors.UserError(
      f"--index={path} has {len(packed)} codes and {len(ids)} ids; it must"
      " have one of each for at least one image."
    )
  return Index(
    packed,
    ids,
    num_bits,
    workdir or texts["workdir"] or str(file.parent),
    texts["root"],
    texts["encoder_sha256"],
  )


def _unreadable(path, reason):
  return errors.UserError(
    f"--index={path} cannot be read as an index: {reason}."
    " Give codes.npz of a run, or the output of python -m dsh_jax encode."
  )


def check_encoder(index: Index, sha256: str) -> None:
  """Check that a run is the one that encoded an index.

  Args:
    index: The index; one of version 0.1 is accepted with a warning.
    sha256: `encoder_sha256` of the run.

  Raises:
    UserError: The run has other weights or another preprocessing.
  """
  if not index.encoder_sha256:
    logging.warning(
      "The index does not record the weights that encoded it, as those of"
      " version 0.1: they are not compared."
    )
  elif index.encoder_sha256 != sha256:
    raise errors.UserError(
      f"The index was encoded by another run than that of --workdir="
      f"{index.workdir}: weights or preprocessing differ. Give the run that"
      " encoded it, or encode the images again."
    )


def load_encoder(index: Index) -> image_files.RunEncoder:
  """Return the encoder of queries for an index, one image at a time."""
  encoder = image_files.RunEncoder(index.workdir, batch_size=1)
  if encoder.num_bits != index.num_bits:
    raise errors.UserError(
      f"The index has {index.num_bits} bits, the run of --workdir="
      f"{index.workdir} {encoder.num_bits}. Give the run that encoded it."
    )
  check_encoder(index, encoder.sha256)
  return encoder
