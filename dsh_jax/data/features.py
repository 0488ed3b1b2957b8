"""Features of any model instead of images.

One file (.npz, .safetensors, .parquet) holds `features` float [N,F], `labels`
and optionally `ids`, `split` and `group`; or each is in a separate file. Labels
are multi-hot [N,L] of 0 and 1, class numbers [N], names separated by ";", or
names [N,M] with "" as none; in Parquet also lists of names or class numbers.
`class_names` may name the columns or numbers. A split is "train",
"validation", "query" or "database", or several separated by ";"; without any,
the protocol "auto" draws them. Items of one `group` stay on one side of drawn
splits.
"""

import dataclasses
import hashlib
import pathlib
from collections.abc import Sequence

import numpy as np

from dsh_jax import errors
from dsh_jax.data import (
  dataset,
  disk,
  feature_files,
  listfile,
  listings,
  protocols,
)
from dsh_jax.data.splits import Items

_SPLITS = ("train", "validation", "query", "database")
_MAX_LABELS = 100_000  # A higher class number is a mistake.
_CHUNK = 1 << 16  # Rows hashed at a time.
_UNUSED_FIELDS = (
  "dir", "manual_dir", "resize", "max_missing", "image_size", "crop_size",
  "crop_padding", "flip", "mean", "std",
)  # fmt: skip


def _class_names(columns):
  """Return the names of the array `class_names`; [] without it."""
  if "class_names" not in columns:
    return []
  values, path, field = columns["class_names"]
  names = [str(name) for name in np.ravel(values)]
  return list(listings.check_names(names, f"class_names of {path}", field))


def _multi_hot(column, class_names):
  """Return uint8 [N,L] and the L names."""
  labels = np.asarray(column.values)

  def wrong(what):
    return column.error(
      f"The labels of {column.path} {what}; they must be 0 and 1 in [items,"
      ' classes], class numbers, or names separated by ";"'
    )

  kind = labels.dtype.kind
  if kind in "iuUS" and labels.shape[1:] == (1,) and len(class_names) != 1:
    labels = labels[:, 0]  # As multi-hot, it would have only one class.
  if kind in "US" and labels.ndim in (1, 2):
    multi_hot, names = _of_names(labels.astype(str), class_names, column)
  elif kind in "iufO" and labels.ndim == 1:
    multi_hot, names = _of_numbers(labels, class_names, wrong)
  elif kind in "biuf" and labels.ndim == 2:
    valid = np.isin(labels, (0, 1))
    if not valid.all():
      raise wrong(f"hold {labels[~valid][0]}")
    multi_hot = labels.astype(np.uint8)
    names = class_names or [str(number) for number in range(labels.shape[1])]
    if len(names) != labels.shape[1]:
      raise wrong(f"have {labels.shape[1]} columns and {len(names)} names")
  else:
    raise wrong(f"are of type {labels.dtype} and shape {labels.shape}")
  if not names or not multi_hot.any():
    raise wrong("name no class")
  return multi_hot, tuple(names)


def _of_names(labels, class_names, column):
  """Read names joined by ";", or str [N,M]."""
  if labels.ndim == 1:
    labels = [row.split(";") for row in labels]
  rows = [[name for name in map(str.strip, row) if name] for row in labels]
  names = class_names or sorted({name for row in rows for name in row})
  if not class_names and all(len(row) < 2 for row in rows):
    listings.check_separator(
      names, column.path, f"an array class_names, or change {column.field}"
    )
  numbers = {name: number for number, name in enumerate(names)}
  multi_hot = np.zeros((len(rows), len(names)), np.uint8)
  for item, row in enumerate(rows):
    for name in row:
      if name not in numbers:
        raise errors.unknown("label", name, names, column.field)
      multi_hot[item, numbers[name]] = 1
  return multi_hot, names


def _of_numbers(labels, class_names, wrong):
  """Read one class number per item, or an array of them."""
  items = np.arange(num_items := len(labels))
  if labels.dtype == object:
    items = np.repeat(items, [len(row) for row in labels])
    labels = np.concatenate(labels)
  whole = (labels == np.trunc(labels)) & (labels < _MAX_LABELS) & (labels >= 0)
  if not whole.all():
    raise wrong(
      f"hold {labels[~whole][0]}, and class numbers are whole, from 0 to"
      f" {_MAX_LABELS - 1}"
    )
  labels = labels.astype(np.int64)
  count = len(class_names) or int(labels.max(initial=0)) + 1
  if labels.max(initial=0) >= count:
    raise wrong(f"hold {labels.max()} with {count} class_names")
  multi_hot = np.zeros((num_items, count), np.uint8)
  multi_hot[items, labels] = 1
  if np.count_nonzero(multi_hot) < len(labels):
    raise wrong("hold a class number twice in one item")
  return multi_hot, class_names or [str(number) for number in range(count)]


def read_labels(
  path: str, field: str, class_names: Sequence[str]
) -> tuple[np.ndarray | None, str]:
  """Read the labels of a file of features as those of a run.

  Args:
    path: The file; class numbers and columns without `class_names` are those
      of the run.
    field: The flag that gave the path, for errors.
    class_names: Names of the L classes of the run.

  Returns:
    uint8 [N,L], or None without labels; and a sentence about labels that are
    left out, or "".
  """
  columns = feature_files.read_columns(path, field)
  if "labels" not in columns:
    return None, ""
  column = columns["labels"]
  is_text = column.values.dtype.kind in "US"
  try:
    names = _class_names(columns) or ([] if is_text else list(class_names))
    given, names = _multi_hot(column, names)
    if len(given) != len(np.atleast_2d(columns["features"].values)):
      raise column.error(f"{path} has labels of {len(given)} items")
  except errors.UserError as error:
    return None, f"Labels are left out: {error}"
  labels = np.zeros((len(given), len(class_names)), np.uint8)
  unknown = []
  for values, name in zip(given.T, names, strict=True):
    if name in class_names:
      labels[:, list(class_names).index(name)] = values
    elif values.any():
      unknown.append(name)
  return labels if labels.any() else None, left_out(unknown)


def left_out(names: Sequence[str]) -> str:
  """Return a sentence about labels that a run lacks; "" about none."""
  if not names:
    return ""
  return f"Left out labels that the run lacks: {', '.join(names)}"


def _groups(column, num_items):
  """Return split -> rows; all rows if there is no column of splits."""
  if column is None:
    return {"items": np.arange(num_items)}
  rows: dict[str, list[int]] = {name: [] for name in _SPLITS}
  values = column.check_length("splits", num_items).astype(str)
  for row, value in enumerate(values):
    for name in filter(None, map(str.strip, value.split(";"))):
      if name not in rows:
        kind = f"split in row {row}:"
        raise errors.unknown(kind, name, _SPLITS, column.field)
      rows[name].append(row)
  for name in ("train", "query"):
    if not rows[name]:
      raise column.error(
        f"No row of {column.path} is in the split {name!r}; give at least one"
      )
  rows["database"] = rows["database"] or rows["train"]
  return {name: np.array(x, np.int64) for name, x in rows.items() if x}


def _load(**options: str) -> Items:
  columns = feature_files.read(**options)
  features = feature_files.check_features(columns["features"])
  count = len(features)
  labels, class_names = _multi_hot(columns["labels"], _class_names(columns))
  if len(labels) != count:
    raise columns["labels"].error(
      f"{columns['labels'].path} has labels of {len(labels)} items; there are"
      f" {count} features"
    )
  together = None
  if "group" in columns:
    together = columns["group"].check_length("groups", count).astype(str)
  sha = hashlib.sha256(f"{features.shape} {features.dtype.str}".encode())
  for first in range(0, count, _CHUNK):
    sha.update(np.ascontiguousarray(features[first : first + _CHUNK]))
  return Items(
    content_sha256=sha.hexdigest(),
    images=features,
    labels=labels,
    ids=feature_files.read_ids(columns, count),
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


def _choose(name: str, items: Items) -> tuple[str, protocols.Protocol]:
  has_column = "train" in items.groups
  name = name or ("column" if has_column else "auto")
  protocol = _PROTOCOLS[name]
  if name == "column" and not has_column:
    raise errors.UserError(
      "config.data.protocol is 'column', but the features have no array"
      " 'split'. Set config.data.split_file, or the protocol to 'auto'."
    )
  if name == "column" and "validation" in items.groups:
    protocol = dataclasses.replace(protocol, validation=("validation",))
  return name, protocol


def _key(manual_dir: str, **files: str) -> str:
  del manual_dir
  stamps = []
  for name, given in files.items():
    if given:
      path = pathlib.Path(given).expanduser()
      # A Parquet data set may be a folder.
      inside = map(disk.stamp, [path, *sorted(path.rglob("*"))])
      stamps.append(f"{name} {', '.join(inside)}")
  return "; ".join(stamps)


DATASET = dataset.Dataset(
  key=_key,
  load=_load,
  options=tuple(feature_files.FIELDS.values()),
  protocols=_PROTOCOLS,
  choose_loaded=_choose,
  unused_fields=_UNUSED_FIELDS,
)
