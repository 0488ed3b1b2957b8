"""Features of any model in place of images: embeddings to short codes.

One file (.npz, .safetensors, .parquet) has `features` float [N,F], `labels`,
and, if there are any, `ids`, `split` and `group`. Or each of them is a file of
its own. Labels are multi-hot [N,L] of 0 and 1, numbers of classes [N], or names
with ";" between; `class_names` may name the columns of the first two. A split
is "train", "validation", "query" or "database", or several with ";" between;
without one, the protocol "auto" draws them. Items of one `group` stay on one
side of what is drawn.
"""

import dataclasses
import hashlib
import pathlib

import numpy as np

from dsh_jax import errors
from dsh_jax.data import arrays, dataset, feature_files, listfile, protocols

_SPLITS = ("train", "validation", "query", "database")
_TYPES = ("float16", "float32", "float64")
_MAX_LABELS = 100_000  # A class number above is a mistake, not a class.
_CHUNK = 1 << 16  # Rows looked at in one go.
_FIELDS = {
  "features": "features",
  "labels": "labels_file",
  "ids": "ids_file",
  "split": "split_file",
}


@dataclasses.dataclass(frozen=True)
class Vectors:
  """Features and their names.

  Attributes:
    features: float16 or float32 [N,F], finite, memory-mapped where that can be.
    ids: str [N], all different.
  """

  features: np.ndarray
  ids: np.ndarray


def read_vectors(
  path: str, field: str, num_features: int | None = None
) -> Vectors:
  """Read features without labels.

  Args:
    path: A file with an array `features`, and maybe `ids`; or a .npy.
    field: The config field or flag that gave the path, for errors.
    num_features: F that they must have; None takes any.

  Raises:
    UserError: The file cannot be read, or does not hold finite features of
      that width and ids that differ.
  """
  found = feature_files.read(path, field)
  features = _check_features(
    _features_of(found, path, field), path, field, num_features
  )
  ids = found.get("ids", np.arange(len(features)))
  return Vectors(features, _check_ids(ids, len(features), path, field))


def _features_of(found, path, field):
  if "" in found:
    return found[""]
  if "features" not in found:
    raise errors.UserError(
      f"{path} has no array 'features', only {', '.join(sorted(found))}. Name"
      f" it so, or change {field}."
    )
  return found["features"]


def _check_features(features, path, field, num_features=None):
  """Return features [N,F] that are finite and not wider than float32."""
  if features.dtype.name not in _TYPES:
    raise errors.UserError(
      f"The features of {path} are of type {features.dtype}; they must be"
      f" {', '.join(_TYPES[:-1])} or {_TYPES[-1]}. Change {field}."
    )
  if features.ndim != 2 or 0 in features.shape:
    raise errors.UserError(
      f"The features of {path} have shape {features.shape}; they must be"
      f" [items, features]. Change {field}."
    )
  if num_features is not None and features.shape[1] != num_features:
    raise errors.UserError(
      f"The features of {path} have the shape {features.shape}; the run takes"
      f" {num_features} numbers an item. Change {field}."
    )
  if features.dtype == np.float64:
    with np.errstate(over="ignore"):  # Told below.
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


def _check_ids(ids, count, path, field):
  ids = np.asarray(ids)
  if ids.shape != (count,):
    raise errors.UserError(
      f"The ids of {path} have shape {ids.shape}; there are {count} features."
      f" Change {field}."
    )
  ids = ids.astype(str)
  names, counts = np.unique(ids, return_counts=True)
  if len(names) < count:
    raise errors.UserError(
      f"The id {names[counts.argmax()]!r} of {path} is there"
      f" {counts.max()} times; ids must differ. Change {field}."
    )
  return ids


def _read(**options: str) -> dict[str, tuple[np.ndarray, str, str]]:
  """Return column -> (array, its file, its config field)."""
  path = options.get("features", "")
  if not path:
    raise errors.UserError(
      "No features were given. Set config.data.features to a .npy, .npz,"
      " .safetensors or .parquet file."
    )
  field = "config.data.features"
  found = feature_files.read(path, field)
  columns = {
    name: (array, path, field) for name, array in found.items() if name
  }
  columns["features"] = _features_of(found, path, field), path, field
  for name in ("labels", "ids", "split"):
    if own := options.get(_FIELDS[name], ""):
      field = f"config.data.{_FIELDS[name]}"
      columns[name] = _read_column(own, name, field), own, field
  if "labels" not in columns:
    raise errors.UserError(
      f"{path} has no array 'labels', only {', '.join(sorted(columns))}. Put"
      " them into it, or into a file that config.data.labels_file names."
    )
  return columns


def _read_column(path, name, field):
  """Read labels, ids or splits: of text files a line an item."""
  if pathlib.Path(path).suffix.lower() not in feature_files.READERS:
    try:
      text = pathlib.Path(path).expanduser().read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
      raise errors.UserError(
        f"Cannot read {path}: {errors.describe(error)}. Change {field}."
      ) from error
    return np.array([line.strip() for line in text.splitlines()], str)
  found = feature_files.read(path, field)
  if "" in found or name in found:
    return found.get("", found.get(name))
  raise errors.UserError(
    f"{path} has no array {name!r}, only {', '.join(sorted(found))}. Change"
    f" {field}."
  )


def _multi_hot(labels, path, field, class_names):
  """Return uint8 [N,L] and the L names."""

  def wrong(what):
    return errors.UserError(
      f"The labels of {path} {what}; they must be 0 and 1 in [items, classes],"
      f' numbers of classes, or names with ";" between. Change {field}.'
    )

  labels = np.asarray(labels)
  if labels.dtype.kind in "US" and labels.ndim == 1:
    rows = [
      [name for name in map(str.strip, row.split(";")) if name]
      for row in labels.astype(str)
    ]
    names = class_names or sorted({name for row in rows for name in row})
    numbers = {name: number for number, name in enumerate(names)}
    found = np.zeros((len(rows), len(names)), np.uint8)
    for place, row in enumerate(rows):
      for name in row:
        if name not in numbers:
          raise errors.unknown("label", name, names, field)
        found[place, numbers[name]] = 1
  elif labels.ndim == 1 and labels.dtype.kind in "iu":
    if labels.size and labels.min() < 0:
      raise wrong(f"hold {labels.min()}")
    count = len(class_names) or int(labels.max(initial=0)) + 1
    if labels.max(initial=0) >= count:
      raise wrong(f"hold {labels.max()} with {count} class_names")
    if count > _MAX_LABELS:
      raise wrong(f"hold {labels.max()}, above {_MAX_LABELS - 1}")
    found = np.zeros((len(labels), count), np.uint8)
    found[np.arange(len(labels)), labels] = 1
    names = class_names or [str(number) for number in range(count)]
  elif labels.ndim == 2 and labels.dtype.kind in "biuf":
    if not np.isin(labels, (0, 1)).all():
      raise wrong(f"hold {labels[~np.isin(labels, (0, 1))][0]}")
    found = labels.astype(np.uint8)
    names = class_names or [str(number) for number in range(labels.shape[1])]
    if len(names) != labels.shape[1]:
      raise wrong(f"have {labels.shape[1]} columns and {len(names)} names")
  else:
    raise wrong(f"are of type {labels.dtype} and shape {labels.shape}")
  if not names or not found.any():
    raise wrong("name no class")
  return found, tuple(names)


def _groups(column, count):
  """Return split -> rows; all rows without a column of splits."""
  if column is None:
    return {"items": np.arange(count)}
  found, path, field = column
  if np.shape(found) != (count,):
    raise errors.UserError(
      f"The splits of {path} have shape {np.shape(found)}; there are {count}"
      f" features. Change {field}."
    )
  rows: dict[str, list[int]] = {name: [] for name in _SPLITS}
  for row, names in enumerate(np.asarray(found).astype(str)):
    for name in filter(None, map(str.strip, names.split(";"))):
      if name not in rows:
        raise errors.unknown(f"split in row {row}:", name, _SPLITS, field)
      rows[name].append(row)
  for name in ("train", "query"):
    if not rows[name]:
      raise errors.UserError(
        f"No row of {path} is in the split {name!r}; give at least one."
        f" Change {field}."
      )
  rows["database"] = rows["database"] or rows["train"]
  return {name: np.array(x, np.int64) for name, x in rows.items() if x}


def _load(**options: str) -> arrays.Arrays:
  columns = _read(**options)
  features = _check_features(*columns["features"])
  count = len(features)
  ids, *where = columns.get("ids", (np.arange(count), *columns["features"][1:]))
  names = [str(x) for x in columns.get("class_names", ([],))[0]]
  labels, class_names = _multi_hot(*columns["labels"], names)
  if len(labels) != count:
    _, path, field = columns["labels"]
    raise errors.UserError(
      f"{path} has labels of {len(labels)} items; there are {count} features."
      f" Change {field}."
    )
  together = None
  if "group" in columns:
    together = np.asarray(columns["group"][0]).astype(str)
    if together.shape != (count,):
      raise errors.UserError(
        f"The groups of {columns['group'][1]} have shape {together.shape};"
        f" there are {count} features. Change {columns['group'][2]}."
      )
  sha = hashlib.sha256(f"{features.shape} {features.dtype.str}".encode())
  for first in range(0, count, _CHUNK):
    sha.update(np.ascontiguousarray(features[first : first + _CHUNK]))
  return arrays.Arrays(
    content_sha256=sha.hexdigest(),
    images=features,
    labels=labels,
    ids=_check_ids(ids, count, *where),
    groups=_groups(columns.get("split"), count),
    class_names=class_names,
    notes={
      "listed": count,
      "absent": 0,
      "unlabelled": 0,
      "unreadable": 0,
      "first_unreadable": {},
    },
    together=together,
  )


_PROTOCOLS = {
  "auto": listfile.AUTO,
  "column": protocols.Protocol(
    train=("train",),
    query=("query",),
    database=("database",),
    validation=0.1,
    keep_unlabelled=True,
    source="the column of splits",
  ),
}


def _choose(name: str, found: arrays.Arrays) -> tuple[str, protocols.Protocol]:
  has_column = "train" in found.groups
  name = name or ("column" if has_column else "auto")
  protocol = _PROTOCOLS[name]
  if name == "column" and not has_column:
    raise errors.UserError(
      "config.data.protocol is 'column', and the features have no array"
      " 'split'. Set config.data.split_file, or the protocol to 'auto'."
    )
  if name == "column" and "validation" in found.groups:
    protocol = dataclasses.replace(protocol, validation=("validation",))
  return name, protocol


DATASET = dataset.Dataset(
  load=_load,
  options=tuple(_FIELDS.values()),
  protocols=_PROTOCOLS,
  choose_loaded=_choose,
  unused_fields=(
    "dir",
    "manual_dir",
    "resize",
    "max_missing",
    "image_size",
    "crop_size",
    "crop_padding",
    "flip",
    "mean",
    "std",
  ),
)
