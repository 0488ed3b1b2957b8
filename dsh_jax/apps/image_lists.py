"""Lists of images: a folder, a text file or a CSV file; their labels."""

import csv
import io
import os
import pathlib
import re
from collections.abc import Sequence

import numpy as np

from dsh_jax import errors, files
from dsh_jax.data import archives, features, listings


def find(source: str) -> tuple[pathlib.Path, list[str]]:
  """Find the images of a folder or a list.

  Args:
    source: A folder, searched recursively; or a text file with one path per
      line, optionally followed by labels `0 1 0 ...`; or a .csv file with
      paths in its first column. Paths are relative to the file's folder.

  Returns:
    The folder, and the paths relative to it without duplicates: alphabetical
    for a folder, in the order of a list. If a list has paths outside its own
    folder, the folder is the smallest that holds all.
  """
  path = pathlib.Path(source).expanduser().absolute()
  if path.is_dir():
    root, names = path, listings.find_pictures(path)
  else:
    text = _read_list(path, source)
    root = path.parent
    if path.suffix.lower() == ".csv":
      rows = csv.reader(io.StringIO(text))
      names = [row[0].strip() for row in rows if row and row[0].strip()]
      names = names[listings.has_header(names) :]
    else:
      lines = (line.strip() for line in text.splitlines())
      names = [_without_labels(root, line) for line in lines if line]
    root, names = _inside(root, names)
  names = list(dict.fromkeys(names))
  if not names:
    raise errors.UserError(
      f"--images={source} has no images. Images of a folder end in"
      f" {', '.join(listings.SUFFIXES)}."
    )
  return root, names


def _read_list(path: pathlib.Path, source: str) -> str:
  try:
    return files.read_bytes(path).decode("utf-8-sig")
  except (OSError, ValueError) as error:
    raise errors.UserError(
      f"--images={source} is neither a folder nor a list of images:"
      f" {errors.describe(error)}."
    ) from None


def _inside(
  root: pathlib.Path, names: Sequence[str]
) -> tuple[pathlib.Path, list[str]]:
  """Return a folder and paths in it, for paths that may leave `root`."""
  paths = [os.path.normpath(root / name) for name in names]
  if any(not pathlib.Path(path).is_relative_to(root) for path in paths):
    root = pathlib.Path(os.path.commonpath([os.path.dirname(p) for p in paths]))
  return root, [pathlib.Path(p).relative_to(root).as_posix() for p in paths]


def find_labels(
  source: str, names: Sequence[str], class_names: Sequence[str]
) -> tuple[np.ndarray | None, str]:
  """Find the labels of the images of a folder or a list.

  Args:
    source: See `find`. In a folder, the first folder of a path is a label if it
      has the name of a class; a list has L labels a line; a .csv file is read
      as `listings.read_csv` does.
    names: From `find`.
    class_names: Names of the L classes of the run.

  Returns:
    uint8 [N,L], or None without labels; and a sentence about labels that are
    left out, or "".
  """
  try:
    found = _names_of_labels(source, names, class_names)
    rows = [found.get(archives.clean_path(name), ()) for name in names]
  except errors.UserError as error:
    return None, f"Labels are left out: {error}"
  known = {name: number for number, name in enumerate(class_names)}
  labels = np.zeros((len(names), len(class_names)), np.uint8)
  for place, row in enumerate(rows):
    labels[place, [known[name] for name in row if name in known]] = 1
  if not labels.any():
    return None, ""
  unknown = {name for row in rows for name in row} - set(known)
  return labels, features.left_out(sorted(unknown))


def _names_of_labels(source, names, class_names):
  """Return path -> names of labels; {} if the source has none."""
  path = pathlib.Path(source).expanduser()
  if path.is_dir():
    return {name: name.split("/")[:-1][:1] for name in names}
  text = _read_list(path, source)
  if path.suffix.lower() == ".csv":
    if "," not in text:
      return {}
    listing = listings.read_csv(str(path), root=str(path.parent))
  else:
    if not re.search(r"(?m)\s[01]\s*$", text):
      return {}
    listing = listings.read_lists({"images": str(path)}, "", str(path.parent))
    if len(listing.class_names) != len(class_names):
      raise errors.UserError(
        f"{source} has {len(listing.class_names)} labels a line; the run has"
        f" {len(class_names)}."
      )
    listing = listing._replace(class_names=tuple(class_names))
  return {
    name: [listing.class_names[number] for number in numbers]
    for name, numbers in listing.labels.items()
  }


def _without_labels(root: pathlib.Path, line: str) -> str:
  if (root / line).is_file():
    return line
  words = line.split()
  while len(words) > 1 and words[-1] in ("0", "1"):
    words.pop()
    line = line[:-1].rstrip()
  return line
