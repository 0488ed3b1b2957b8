"""Your own images: the list files of the field, or one CSV file.

List files, one per split, have a line `path 0 1 0 ...` for each image (the
format of HashNet, DeepHash-pytorch and OrthoHash). A CSV file has a line
`path,label;label;...` and is split by the protocol "auto". Paths are relative
to `config.data.manual_dir`. Without a list of validation queries, a tenth of
the training images becomes validation queries.
"""

import csv
import dataclasses
import hashlib
import json
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from dsh_jax import errors
from dsh_jax.data import archives, dataset, file_builder, protocols

_SPLITS = ("train", "query", "database", "validation")


class Listfile(file_builder.FileBuilder):
  """Images and labels of user-made lists."""


class Listing(NamedTuple):
  """The contents of the lists.

  Attributes:
    class_names: Names of the L labels.
    labels: Path -> numbers of its labels, in order of appearance.
    groups: Split -> its paths; "images" -> all paths of a CSV file.
  """

  class_names: tuple[str, ...]
  labels: Mapping[str, tuple[int, ...]]
  groups: Mapping[str, Sequence[str]]


def read_lists(paths: Mapping[str, str], classes: str = "") -> Listing:
  """Read one list file per split.

  Args:
    paths: Split -> list file.
    classes: File with one label name per line; "" uses numbers as names.
  """
  labels, groups, num_classes = {}, {}, 0
  names = _read_class_names(classes) if classes else ()
  for split, path in paths.items():
    members = {}
    for place, line in enumerate(_read_lines(path), 1):
      where = f"line {place} of {path}"
      if not line:
        continue
      if not num_classes:
        num_classes = len(names) or _count_labels(line)
      words = line.rsplit(maxsplit=num_classes)
      if len(words) != num_classes + 1 or not set(words[1:]) <= {"0", "1"}:
        raise errors.UserError(
          f"{where} is {_short(line)}; it must be a path and {num_classes}"
          " labels that are 0 or 1, as in the line above or in"
          " config.data.classes."
        )
      if num_classes == 0:
        raise errors.UserError(f"{where} is {_short(line)}, without labels.")
      found = tuple(n for n, word in enumerate(words[1:]) if word == "1")
      _add(labels, members, words[0], found, where)
    groups[split] = list(members)
  names = names or tuple(str(number) for number in range(num_classes))
  return _checked(Listing(names, labels, groups), ", ".join(paths.values()))


def read_csv(path: str, classes: str = "") -> Listing:
  """Read a CSV file with a path and labels in every row.

  Args:
    path: The file; a first row `path,labels` is skipped.
    classes: File with one label name per line; "" takes all labels of the
      file in alphabetical order.
  """
  rows, last = [], 0
  reader = csv.reader(_read_lines(path), strict=True)
  try:
    for row in reader:
      where = f"line {last + 1} of {path}"
      if reader.line_num > last + 1:  # Otherwise the lines would be one label.
        raise errors.UserError(f"{where} has a quote that is not closed.")
      last = reader.line_num
      if not row or (reader.line_num == 1 and row[0].lower() == "path"):
        continue
      if len(row) != 2:
        raise errors.UserError(
          f"{where} has {len(row)} columns; it must have two, a path and"
          " labels separated by semicolons."
        )
      found = (name.strip() for name in row[1].split(";"))
      rows.append((row[0].strip(), [name for name in found if name], where))
  except csv.Error as error:
    raise errors.UserError(
      f"line {reader.line_num} of {path} is not CSV: {error}."
    ) from error
  names = (
    _read_class_names(classes)
    if classes
    else tuple(sorted({name for _, found, _ in rows for name in found}))
  )
  numbers = {name: number for number, name in enumerate(names)}
  labels, members = {}, {}
  for image, found, where in rows:
    for name in found:
      if name not in numbers:
        raise errors.unknown(
          f"label in {where}:", name, names, "config.data.classes"
        )
    found = tuple(sorted({numbers[name] for name in found}))
    _add(labels, members, image, found, where)
  return _checked(Listing(names, labels, {"images": list(members)}), path)


def _read_lines(path):
  try:
    encoded = pathlib.Path(path).expanduser().read_bytes()
  except (OSError, ValueError) as error:
    raise errors.UserError(
      f"Cannot read the list {path!r}: {error}. Change config.data.train,"
      " .query, .database, .validation, .csv or .classes."
    ) from error
  return archives.decode_lines(encoded, path)


def _read_class_names(path):
  names = tuple(_read_lines(path))
  if len(set(names)) < len(names) or not all(names):
    raise errors.UserError(
      f"{path} must have a different class name on every line. Change"
      " config.data.classes."
    )
  return names


def _count_labels(line):
  words = line.split()
  count = 0
  while count < len(words) - 1 and words[-1 - count] in ("0", "1"):
    count += 1
  return count


def _add(labels, members, path, found, where):
  path = archives.clean_path(path)
  if labels.setdefault(path, found) != found:
    raise errors.UserError(
      f"{where} gives {_short(path)} other labels than an earlier line."
    )
  members[path] = None


def _checked(listing, where):
  if not listing.labels or not listing.class_names:
    raise errors.UserError(
      f"{where} lists no image with a label. Change config.data.train, .query,"
      " .database or .csv."
    )
  return listing


def _short(text):
  return repr(text if len(text) <= 80 else f"{text[:77]}...")


def _read(train="", query="", database="", validation="", csv="", classes=""):
  given = dict(zip(_SPLITS, (train, query, database, validation), strict=True))
  lists = {split: path for split, path in given.items() if path}
  if csv and not lists:
    return read_csv(csv, classes)
  if csv or not {"train", "query", "database"} <= set(lists):
    raise errors.UserError(
      "Give three lists, config.data.train, .query and .database, or one"
      " config.data.csv; given:"
      f" {', '.join([*lists, *(['csv'] if csv else [])]) or 'none'}."
    )
  return read_lists(lists, classes)


def _key(manual_dir: str, **options: str) -> str:
  """Return a key of the lists and of the size and time of each image."""
  return f"listfile/{_fingerprint(_read(**options), manual_dir)}/1.0.0"


def _fingerprint(listing, manual_dir):
  root = os.path.abspath(os.path.expanduser(manual_dir))
  digest = hashlib.sha256(json.dumps([root, listing]).encode())
  for path in listing.labels:
    try:
      status = os.stat(os.path.join(root, path))
      digest.update(f"{status.st_size} {status.st_mtime_ns}\n".encode())
    except OSError:
      digest.update(b"absent\n")
  return digest.hexdigest()[:16]


def _create_builder(
  data_dir: str, manual_dir: str, max_missing: float, **options: str
) -> Listfile:
  listing = _read(**options)
  root = archives.Folder(pathlib.Path(manual_dir).expanduser())
  builder = Listfile(
    data_dir=data_dir,
    variant=_fingerprint(listing, manual_dir),
    class_names=listing.class_names,
    find_items=lambda: [
      file_builder.Item(root, path, path, labels)
      for path, labels in listing.labels.items()
    ],
    max_missing=max_missing,
  )
  builder.groups = listing.groups
  return builder


_PROTOCOLS = {
  "lists": protocols.Protocol(
    train=("train",),
    query=("query",),
    database=("database",),
    validation=0.1,
    keep_unlabelled=True,
    source="the list files",
  ),
  "auto": protocols.Protocol(
    train=protocols.REST,
    query=0.1,
    database=protocols.REST,
    validation=0.1,
    train_in_database=True,
    source="a tenth are queries, the rest is trained on and searched",
  ),
}


def _choose(
  name: str, options: Mapping[str, str]
) -> tuple[str, protocols.Protocol]:
  name = name or ("auto" if options.get("csv") else "lists")
  protocol = _PROTOCOLS[name]
  if options.get("validation"):
    protocol = dataclasses.replace(protocol, validation=("validation",))
  return name, protocol


DATASET = dataset.Dataset(
  key=_key,
  create_builder=_create_builder,
  options=(*_SPLITS, "csv", "classes"),
  protocols=_PROTOCOLS,
  choose=_choose,
)
