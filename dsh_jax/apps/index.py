"""An index: codes, ids of their images, and the run that encoded them.

`codes.npz` of a run is an index of its database; `encode` writes others.
"""

import dataclasses
import functools
import logging
import pathlib
from typing import NamedTuple

import numpy as np

from dsh_jax import MAX_BITS, errors, files, models
from dsh_jax.retrieval import codes, neighbors, ties
from dsh_jax.runs import trained
from dsh_jax.runs import workdir as workdir_lib

_TEXTS = ("workdir", "root", "encoder_sha256")
# Arrays of an index: number of dimensions, kinds of type.
_KINDS = {
  "num_bits": (0, "iu"),
  "database_codes": (2, "u"),
  "database_ids": (1, "U"),
  "database_labels": (2, "uib"),
  "class_names": (1, "U"),
  "database_outputs": (2, "f"),
} | {name: (0, "U") for name in _TEXTS}
_OF_BITS = ("database_codes", "database_outputs")
_LABELS = {"database_labels", "class_names"}
_TEXT_BYTES = 1 << 16  # Of an id, a name of a class, or a path.


class Query(NamedTuple):
  """What is searched for.

  Attributes:
    code: uint32 [ceil(K/32)].
    outputs: Real-valued outputs, float [K]; None if unknown.
  """

  code: np.ndarray
  outputs: np.ndarray | None = None


@dataclasses.dataclass(frozen=True)
class Index:
  """Codes of N images.

  Attributes:
    codes: uint32 [N,ceil(K/32)].
    ids: str [N]; paths of images, or ids of the run's data set.
    num_bits: K.
    workdir: Folder of the run that encoded them.
    root: Folder that ids are relative to; "" for ids of the run's data set.
    encoder_sha256: Identifies the run's weights and preprocessing, see
      `trained.TrainedRun`; "" if version 0.1 wrote the index.
    labels: uint8 [N,L]; None if the index has none.
    class_names: Names of the L labels; () without labels.
    outputs: Real-valued outputs, float [N,K], which order the items at one
      distance; None if the index lacks them.
  """

  codes: np.ndarray
  ids: np.ndarray
  num_bits: int
  workdir: str
  root: str
  encoder_sha256: str = ""
  labels: np.ndarray | None = None
  class_names: tuple[str, ...] = ()
  outputs: np.ndarray | None = None

  def __len__(self) -> int:
    return len(self.ids)

  def query_of(self, row: int) -> Query:
    """Return the query for the neighbours of an item."""
    outputs = None if self.outputs is None else self.outputs[row]
    return Query(self.codes[row], outputs)

  def nearest(self, query: Query, count: int) -> list[tuple[int, int]]:
    """Return (distance, row) of the nearest images.

    Images at one distance are ordered by `outputs` if the index and the query
    have them, and by row otherwise.

    Args:
      query: What to search for.
      count: Number of results, at least 1; all if there are fewer.
    """
    count = min(count, len(self))
    if self.outputs is None or query.outputs is None:
      found = neighbors.top_k(query.code[np.newaxis], self.codes, count)
      distances, rows = found[0][0], found[1][0]
    else:
      distances, rows = ties.top_k(*query, self.codes, self.outputs, count)
    return list(zip(distances.tolist(), rows.tolist(), strict=True))

  def num_tied(self, query: Query, found: list[tuple[int, int]]) -> int:
    """Return how many images at the last distance `nearest` left out."""
    _, within, _ = neighbors.within_radius(
      query.code[np.newaxis], self.codes, found[-1][0]
    )
    return len(within) - len(found)

  @functools.cached_property
  def has_pictures(self) -> bool:
    """Whether the run was trained on images, not on features."""
    if not self.workdir:
      return True
    config = workdir_lib.Workdir(self.workdir).read_json("config.json")
    # None if the run has been moved; `picture` says so.
    return (config or {}).get("model.backbone") != models.VECTORS

  def row_of(self, name: str) -> int | None:
    """Return the row of an id; None if there is none."""
    rows = np.flatnonzero(self.ids == name)
    return int(rows[0]) if len(rows) else None

  def find(self, name: str, label: str) -> np.ndarray:
    """Return the rows of items, rising.

    Args:
      name: Part of their ids, in upper or lower case; "" for any.
      label: A label that they have, in upper or lower case; "" for any.
    """
    chosen = np.ones(len(self), bool)
    if name:
      chosen &= np.strings.find(np.strings.lower(self.ids), name.lower()) >= 0
    if label:
      columns = self._columns(label)
      chosen &= (self.labels[:, columns] != 0).any(axis=1) if columns else False
    return np.flatnonzero(chosen)

  def _columns(self, label):
    """Return the columns of a label: that of its case, or those of any."""
    names = self.class_names
    if label in names:
      return [names.index(label)]
    wanted = label.casefold()
    return [n for n, name in enumerate(names) if name.casefold() == wanted]

  def labels_of(self, row: int) -> tuple[str, ...]:
    """Return the names of an item's labels; none without labels."""
    if self.labels is None:
      return ()
    numbers = np.flatnonzero(self.labels[row])
    return tuple(self.class_names[number] for number in numbers)


def load(path: str, workdir: str = "") -> Index:
  """Read an index.

  Args:
    path: codes.npz of a run, or the output of `dsh_jax.apps.encode`.
    workdir: Folder of the run, if it has been moved.
  """
  file = pathlib.Path(path).expanduser()
  try:
    saved = files.read_arrays(file, _choose)
    if not isinstance(saved, dict):
      raise ValueError("it is a .npy file")
    num_bits = int(saved["num_bits"])
    packed = codes.check(saved["database_codes"], num_bits, "index's codes")
    ids = saved["database_ids"]
    labels, class_names = None, ()
    if _LABELS <= saved.keys():
      labels = saved["database_labels"]
      class_names = tuple(map(str, saved["class_names"]))
    outputs = saved.get("database_outputs")
    if outputs is not None:
      outputs = ties.check(outputs, len(packed), num_bits, f"--index={path}")
    texts = {name: str(saved.get(name, "")) for name in _TEXTS}
  except KeyError as error:
    raise _unreadable(path, f"it has no array {error}") from error
  except (OSError, ValueError) as error:
    raise _unreadable(path, errors.describe(error)) from error
  for name, array in saved.items():
    if array.dtype.kind == "U" and not _is_unicode(array):
      raise errors.UserError(
        f"--index={path} has text in {name} that is not UTF-8. Encode the"
        " pictures again, which leaves such names out."
      )
  if not len(ids):
    raise errors.UserError(f"--index={path} has no images.")
  return Index(
    packed,
    ids,
    num_bits,
    workdir or texts["workdir"] or str(file.parent),
    texts["root"],
    texts["encoder_sha256"],
    labels,
    class_names,
    outputs,
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


def _choose(headers):
  """Return the arrays to read; raise ValueError if they are not of an index.

  So a small file that would expand to much takes no memory.
  """
  if "database_codes" not in headers:
    raise ValueError("it has no array 'database_codes'")
  num_items = headers["database_codes"][0][:1]
  has_labels = _LABELS <= headers.keys()
  chosen = [
    name
    for name in headers.keys() & _KINDS.keys()
    if has_labels or name not in _LABELS
  ]
  for name in chosen:
    (shape, dtype), (ndim, kinds) = headers[name], _KINDS[name]
    if (
      len(shape) != ndim
      or dtype.kind not in kinds
      or (dtype.kind == "U" and dtype.itemsize > _TEXT_BYTES)
      or (name in _OF_BITS and shape[1] > MAX_BITS)
    ):
      raise ValueError(f"{name} is {dtype} of shape {shape}")
    if name.startswith("database_") and shape[:1] != num_items:
      raise ValueError(f"{name} has shape {shape} for {num_items[0]:,} codes")
  if has_labels:
    labels, names = headers["database_labels"][0], headers["class_names"][0]
    if labels[1:] != names:
      raise ValueError(f"labels have shape {labels} for {names[0]:,} names")
  return chosen


def _is_unicode(text: np.ndarray) -> bool:
  """Return whether text can be written as UTF-8."""
  if not text.itemsize:
    return True
  native = np.ascontiguousarray(text, text.dtype.newbyteorder("="))
  letters = native.view(np.uint32)
  return bool(
    ((letters < 0xD800) | ((letters > 0xDFFF) & (letters < 0x110000))).all()
  )


def load_encoder(index: Index) -> trained.TrainedRun:
  """Return the run that encodes queries for an index."""
  run = trained.load_run(index.workdir)
  if run.config.bits != index.num_bits:
    raise errors.UserError(
      f"The index has {index.num_bits} bits, the run of --workdir="
      f"{index.workdir} {run.config.bits}. Give the run that encoded it."
    )
  check_encoder(index, run.encoder_sha256)
  return run


def encode(run: trained.TrainedRun, item: np.ndarray) -> Query:
  """Return the query for an image uint8 [H,W,3], or a feature float [1,F]."""
  codes, outputs = run.encode_with_outputs(item)
  return Query(codes[0], outputs[0])
