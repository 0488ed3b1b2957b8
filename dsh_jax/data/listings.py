"""Read the labels of images from lists, a CSV file or folders."""

import csv
import os
import pathlib
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from dsh_jax import errors, files
from dsh_jax.data import archives

# Suffixes of image files in folders.
SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".webp")
# The start of a line that has more labels than expected.
_PATH_AND_LABELS = re.compile(rf"(?i)({'|'.join(SUFFIXES)})(\s+[01])+$")
# Headers of a column of names, even if the names are 0 and 1.
_NAME_HEADERS = ("class", "classes", "label", "labels", "tag", "tags")


class Listing(NamedTuple):
  """Listed images and their labels.

  Attributes:
    class_names: Names of the L labels.
    labels: Path -> numbers of its labels, in order of appearance.
    groups: Split -> its paths; "images" -> all paths of a CSV file or folder.
    together: Path -> third column of a CSV file; {} if there is none.
  """

  class_names: tuple[str, ...]
  labels: Mapping[str, tuple[int, ...]]
  groups: Mapping[str, Sequence[str]]
  together: Mapping[str, str]


def read_lists(
  paths: Mapping[str, str], classes: str = "", root: str = ""
) -> Listing:
  """Read one list file per split.

  Args:
    paths: Split -> its file.
    classes: A file with one label name per line; "" names labels by number.
    root: Folder of the images, for absolute paths inside it; "" allows none.
  """
  labels, groups, num_classes = {}, {}, 0
  names = _read_class_names(classes) if classes else ()
  source = f"config.data.classes={classes} has"
  for split, path in paths.items():
    members = {}
    for number, line in enumerate(_read_lines(path), 1):
      where = f"line {number} of {path}"
      if not line:
        continue
      if not num_classes:
        num_classes = len(names) or _count_labels(line)
        source = source if names else f"{where} has"
      words = line.rsplit(maxsplit=num_classes)
      flags = set(words[1:]) <= {"0", "1"}
      if flags and _PATH_AND_LABELS.search(words[0]):
        raise errors.UserError(
          f"{where} has {_count_labels(line)} labels; {source} {num_classes}."
          " Give every line of all lists the same number of labels, and"
          " config.data.classes as many names."
        )
      if len(words) != num_classes + 1 or not flags:
        raise errors.UserError(
          f"{where} is {_short(line)}; it must be a path and {num_classes}"
          f" labels that are 0 or 1, because {source} {num_classes}."
        )
      if num_classes == 0:
        raise errors.UserError(f"{where} is {_short(line)}, without labels.")
      numbers = tuple(n for n, word in enumerate(words[1:]) if word == "1")
      image = _relative(words[0], root)
      _add(labels, members, image, numbers, where)
    groups[split] = list(members)
  names = names or tuple(str(number) for number in range(num_classes))
  source = ", ".join(paths.values())
  return _require_labels(Listing(names, labels, groups, {}), source)


def read_csv(path: str, classes: str = "", root: str = "") -> Listing:
  """Read a CSV file with the path and the labels of an image in every row.

  The labels are one column of names separated by ";", optionally followed by a
  column of groups; or a column of 0 and 1 for each label, named in the header.

  The first row is a header if it begins with "path", or if only the second row
  begins with the name of an image file.

  Args:
    path: The file.
    classes: A file with one label name per line; "" takes the columns of the
      header, or all labels in the file in alphabetical order.
    root: See `read_lists`.
  """
  table = _read_table(path)
  header = (
    table.pop(0)[0] if has_header([cells[0] for cells, _ in table]) else []
  )
  one_hot = _is_one_hot(header, table)
  width = len(header if one_hot or not table else table[0][0])
  rows = []
  for cells, where in table:
    if len(cells) != width or not (one_hot or width in (2, 3)):
      raise errors.UserError(
        f"{where} has {len(cells)} column{'s' * (len(cells) != 1)}; every line"
        " must have a path, labels separated by semicolons and, in all lines or"
        " none, a group; or a path and a column of 0 and 1 for each label that"
        f" the header names.{_other_separator(cells)}"
      )
    # An image without a group is a group of its own.
    group = cells[2] if width == 3 and not one_hot else ""
    row_names = (
      _one_hot_names(header, cells, where) if one_hot else _split(cells[1])
    )
    rows.append((cells[0], row_names, group or f"path:{cells[0]}", where))
  if classes:
    names = _read_class_names(classes)
  elif one_hot:
    names = check_names(header[1:], f"The header of {path}", "the header")
  else:
    names = tuple(sorted({name for row in rows for name in row[1]}))
    if all(len(row[1]) < 2 for row in rows):
      check_separator(names, path, "config.data.classes")
  numbers = {name: number for number, name in enumerate(names)}
  labels, members, together = {}, {}, {}
  for image, row_names, group, where in rows:
    for name in row_names:
      if name not in numbers:
        raise errors.unknown(
          f"label in {where}:", name, names, "config.data.classes"
        )
    image = _relative(image, root)
    row_numbers = tuple(sorted({numbers[name] for name in row_names}))
    _add(labels, members, image, row_numbers, where)
    if width == 3 and not one_hot:
      together[image] = group
  groups = {"images": list(members)}
  return _require_labels(Listing(names, labels, groups, together), path)


def _other_separator(cells):
  """Return a sentence if one cell is a line of columns without commas."""
  for mark, word in (("\t", "tabs"), (";", "semicolons")):
    if len(cells) == 1 and mark in cells[0]:
      return f" Its columns look separated by {word}: use commas."
  return ""


def check_separator(names: Sequence[str], path: str, classes: str) -> None:
  """Refuse names such as "sea|sky" if few parts form many names.

  Args:
    names: The labels of a file, none with ";".
    path: The file.
    classes: Where single labels can be listed, for the error.
  """
  for mark in "|,/ ":
    joined = [name for name in names if mark in name]
    parts = {part.strip() for name in names for part in name.split(mark)}
    if joined and parts & set(names) and len(parts) < len(names):
      raise errors.UserError(
        f"The labels of {path} look joined by {mark!r}, such as"
        f" {_short(joined[0])}; separate labels by ';'. If these are single"
        f" labels, list them in {classes}."
      )


def read_folder(root: str) -> Listing:
  """Read images whose label is their top folder below `root`.

  Images directly in `root` have no label.
  """
  paths = find_pictures(pathlib.Path(root).expanduser())
  for path in paths:
    errors.check_utf8(f"{root}/{path}", "config.data.manual_dir")
  names = sorted({path.split("/")[0] for path in paths if "/" in path})
  numbers = {name: number for number, name in enumerate(names)}
  labels = {
    path: (numbers[path.split("/")[0]],) if "/" in path else ()
    for path in paths
  }
  if not names:
    raise errors.UserError(
      f"config.data.manual_dir={root} has no folders of pictures. Put the"
      " pictures of each label into a folder of that name, or set"
      " config.data.csv, or config.data.train, .query and .database."
    )
  return Listing(tuple(names), labels, {"images": paths}, {})


def find_pictures(root: pathlib.Path) -> list[str]:
  """Return the sorted relative paths of all images below a folder."""
  names = []
  for folder, _, found in os.walk(root):
    for file in found:
      if file.lower().endswith(SUFFIXES) and not file.startswith("."):
        path = pathlib.Path(folder, file).relative_to(root)
        names.append(path.as_posix())
  return sorted(names)


def _read_table(path):
  """Return the stripped cells and the location of each non-empty line."""
  table, last = [], 0
  reader = csv.reader(_read_lines(path), strict=True)
  try:
    for row in reader:
      where = f"line {last + 1} of {path}"
      if reader.line_num > last + 1:  # The cell would span several lines.
        raise errors.UserError(f"{where} has a quote that is not closed.")
      last = reader.line_num
      if row:
        table.append(([cell.strip() for cell in row], where))
  except csv.Error as error:
    raise errors.UserError(
      f"line {reader.line_num} of {path} is not CSV: {error}."
    ) from error
  return table


def has_header(paths: Sequence[str]) -> bool:
  """Return whether the first cell of a CSV file is no path, given its column.

  It is "path", or only the second ends as the name of an image file.
  """
  first, second = (*(path.lower() for path in paths[:2]), "", "")[:2]
  is_file = first.endswith(SUFFIXES)
  return first == "path" or (not is_file and second.endswith(SUFFIXES))


def _is_one_hot(header, table):
  """Return whether the columns after the path are labels, 0 or 1."""
  if len(header) < 2 or header[1].lower() in _NAME_HEADERS:
    return False
  return len(header) > 3 or all(
    set(cells[1:]) <= {"0", "1"} for cells, _ in table
  )


def _one_hot_names(header, cells, where):
  for name, cell in zip(header[1:], cells[1:], strict=True):
    if cell not in ("0", "1"):
      raise errors.UserError(
        f"{where} has {_short(cell)} under {name!r}; it must be 0 or 1."
      )
  return [header[n] for n, cell in enumerate(cells) if n and cell == "1"]


def _split(cell):
  return [name for name in map(str.strip, cell.split(";")) if name]


def _read_lines(path):
  try:
    encoded = files.read_bytes(pathlib.Path(path).expanduser())
  except (OSError, ValueError) as error:
    raise errors.UserError(
      f"Cannot read the list {path!r}: {errors.describe(error)}. Change"
      " config.data.train, .query, .database, .validation, .csv or .classes."
    ) from error
  return archives.decode_lines(encoded, path)


def _read_class_names(path):
  return check_names(_read_lines(path), path, "config.data.classes")


def check_names(
  names: Sequence[str], where: str, field: str
) -> tuple[str, ...]:
  """Return the names of classes if they differ and none is empty."""
  if len(set(names)) < len(names) or not all(names):
    raise errors.UserError(
      f"{where} must have a different class name for each label. Change"
      f" {field}."
    )
  return tuple(names)


def _count_labels(line):
  words = line.split()
  count = 0
  while count < len(words) - 1 and words[-1 - count] in ("0", "1"):
    count += 1
  return count


def _relative(path, root):
  """Return a path relative to the folder of the images."""
  full = pathlib.Path(path)
  folder = pathlib.Path(root).expanduser().absolute()
  if root and full.is_absolute() and full.is_relative_to(folder):
    path = str(full.relative_to(folder))
  return archives.clean_path(path)


def _add(labels, members, path, numbers, where):
  if labels.setdefault(path, numbers) != numbers:
    raise errors.UserError(
      f"{where} gives {_short(path)} other labels than an earlier line."
    )
  members[path] = None


def _require_labels(listing, source):
  if not listing.labels or not listing.class_names:
    raise errors.UserError(
      f"{source} lists no image with a label. Change config.data.train, .query,"
      " .database or .csv."
    )
  return listing


def _short(text):
  return repr(text if len(text) <= 80 else f"{text[:77]}...")
