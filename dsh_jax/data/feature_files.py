"""Feature files, with labels, ids, splits and groups."""

import dataclasses
import pathlib
from typing import NamedTuple

import numpy as np

from dsh_jax import errors, files
from dsh_jax.data import array_files

_TYPES = ("float16", "float32", "float64")
_CHUNK = 1 << 16  # Rows checked at a time.
# Column -> field of config.data that may name a separate file for it.
FIELDS = {
  "features": "features",
  "labels": "labels_file",
  "ids": "ids_file",
  "split": "split_file",
}


class Column(NamedTuple):
  """An array of a file.

  Attributes:
    values: The array.
    path: The file.
    field: The config field or flag that names it.
  """

  values: np.ndarray
  path: str
  field: str

  def error(self, problem: str) -> errors.UserError:
    """Return the error of a problem, a sentence without its full stop."""
    return errors.UserError(f"{problem}. Change {self.field}.")

  def check_length(self, name: str, num_items: int) -> np.ndarray:
    """Return the values if there is one for each item."""
    if np.shape(self.values) != (num_items,):
      raise self.error(
        f"The {name} of {self.path} have shape {np.shape(self.values)}; there"
        f" are {num_items} features"
      )
    return np.asarray(self.values)


@dataclasses.dataclass(frozen=True)
class Vectors:
  """Features and their names.

  Attributes:
    features: float16 or float32 [N,F], finite, memory-mapped if possible.
    ids: str [N], all different.
  """

  features: np.ndarray
  ids: np.ndarray


def read_vectors(
  path: str, field: str, num_features: int | None = None
) -> Vectors:
  """Read the features of a file, and its ids if it has any.

  Args:
    path: A .npy, or a file with `features` and optionally `ids`.
    field: The config field or flag that gave the path, for errors.
    num_features: The required F; None allows any.

  Raises:
    UserError: The file cannot be read, its features are not finite or not of
      that width, or two ids are equal.
  """
  columns = read_columns(path, field)
  features = check_features(columns["features"], num_features)
  return Vectors(features, read_ids(columns, len(features)))


def read(**options: str) -> dict[str, Column]:
  """Return name -> column of a data set; `options` are values of `FIELDS`.

  Raises:
    UserError: A file cannot be read, or there are no features or labels.
  """
  path = options.get("features", "")
  if not path:
    raise errors.UserError(
      "No features were given. Set config.data.features to a .npy, .npz,"
      " .safetensors or .parquet file."
    )
  columns = read_columns(path, "config.data.features")
  for name in ("labels", "ids", "split"):
    if own := options.get(FIELDS[name], ""):
      field = f"config.data.{FIELDS[name]}"
      columns[name] = Column(_read_column(own, name, field), own, field)
  if "labels" not in columns:
    raise errors.UserError(
      f"{path} has no array 'labels', only {', '.join(sorted(columns))}. Add"
      " it, or set config.data.labels_file."
    )
  return columns


def check_features(
  column: Column, num_features: int | None = None
) -> np.ndarray:
  """Return features float16 or float32 [N,F]; raise if they are not finite.

  Where `num_features` is given, one vector [F] counts as [1,F].
  """
  features, path, field = column
  if num_features is not None:
    features = np.atleast_2d(features)
  if features.dtype.name not in _TYPES:
    raise column.error(
      f"The features of {path} are of type {features.dtype}; they must be"
      f" {', '.join(_TYPES[:-1])} or {_TYPES[-1]}"
    )
  if features.ndim != 2 or 0 in features.shape:
    raise column.error(
      f"The features of {path} have shape {features.shape}; they must be"
      " [items, features]"
    )
  if num_features is not None and features.shape[1] != num_features:
    raise column.error(
      f"The features of {path} have shape {features.shape}; the run takes"
      f" {num_features} numbers an item"
    )
  if features.dtype == np.float64:
    with np.errstate(over="ignore"):  # Overflow becomes infinity, see below.
      features = features.astype(np.float32)
  for first in range(0, len(features), _CHUNK):
    finite = np.isfinite(features[first : first + _CHUNK]).all(axis=1)
    if not finite.all():
      raise errors.UserError(
        f"Row {first + int(np.argmin(finite))} of the features of {path} holds"
        " NaN or infinity; all must be finite in float32. Leave such rows out,"
        f" or change {field}."
      )
  return features


def read_ids(columns: dict[str, Column], num_items: int) -> np.ndarray:
  """Return the ids, str [N], or the numbers of the rows if there are none."""
  if "ids" not in columns:
    return np.arange(num_items).astype(str)
  column = columns["ids"]
  ids = column.check_length("ids", num_items).astype(str)
  names, counts = np.unique(ids, return_counts=True)
  if len(names) < num_items:
    raise column.error(
      f"Duplicate id {str(names[counts.argmax()])!r} in {column.path}"
      f" ({counts.max()} times)"
    )
  return ids


def read_columns(path: str, field: str) -> dict[str, Column]:
  """Read the arrays of a file by name, "features" among them.

  Raises:
    UserError: It cannot be read, or has no features.
  """
  arrays = array_files.read(path, field)
  if "" in arrays:  # A .npy, which has no names.
    arrays["features"] = arrays.pop("")
  if "features" not in arrays:
    raise errors.UserError(
      f"{path} has no array 'features', only {', '.join(sorted(arrays))}."
      f" Rename one of them, or change {field}."
    )
  return {name: Column(x, path, field) for name, x in arrays.items()}


def _read_column(path, name, field):
  """Read labels, ids or splits; a text file has one item per line."""
  if pathlib.Path(path).suffix.lower() not in array_files.READERS:
    try:
      content = files.read_bytes(pathlib.Path(path).expanduser())
      text = content.decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
      raise errors.UserError(
        f"Cannot read {path}: {errors.describe(error)}. Change {field}."
      ) from error
    return np.array([line.strip() for line in text.splitlines()], str)
  arrays = array_files.read(path, field)
  if "" in arrays or name in arrays:
    return arrays.get("", arrays.get(name))
  raise errors.UserError(
    f"{path} has no array {name!r}, only {', '.join(sorted(arrays))}. Change"
    f" {field}."
  )
