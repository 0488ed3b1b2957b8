"""Image files: their paths, pixels and codes."""

import csv
import io
import os
import pathlib
import re
from collections.abc import Sequence
from typing import BinaryIO

import jax
import numpy as np
from PIL import Image

from dsh_jax import errors, files, parallel
from dsh_jax.data import archives, images, listings
from dsh_jax.runs import encoding, trained

_MAX_LIST_BYTES = 2**30


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
      rows = (row[0].strip() for row in csv.reader(io.StringIO(text)) if row)
      names = [row for row in rows if row and row.lower() != "path"]
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
    with files.open_regular(path) as file:
      if (size := os.fstat(file.fileno()).st_size) > _MAX_LIST_BYTES:
        raise ValueError(
          f"{size:,} bytes; at most {_MAX_LIST_BYTES:,} are read"
        )
      return file.read().decode("utf-8-sig")
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
  unknown = sorted({name for row in rows for name in row} - set(known))
  if not unknown:
    return labels, ""
  return labels, f"Left out labels that the run lacks: {', '.join(unknown)}"


def _names_of_labels(source, names, class_names):
  """Return path -> names of labels; {} if the source has none."""
  path = pathlib.Path(source).expanduser()
  if path.is_dir():
    return {name: name.split("/")[:-1][:1] for name in names}
  text = _read_list(path, source)
  if path.suffix.lower() == ".csv":
    if "," not in text:
      return {}
    listing = listings.read_csv(str(path))
  else:
    if not re.search(r"(?m)\s[01]\s*$", text):
      return {}
    listing = listings.read_lists({"images": str(path)})
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


def read(path: pathlib.Path, size: int, resize: str) -> np.ndarray:
  """Return the pixels of an image file, uint8 [size,size,3].

  Args:
    path: The file.
    size: Side of the result, pixels.
    resize: A rule of `images.RESIZE_RULES`.

  Raises:
    UnreadableError: It cannot be read as an image.
  """
  with open_file(path) as file:
    return images.decode(file, size, resize)


def open_file(path: pathlib.Path) -> BinaryIO:
  """Open an image file.

  Raises:
    UnreadableError: It cannot be opened, is not a regular file, or its path
      is not UTF-8, which no index can hold.
  """
  try:
    str(path).encode()
    return files.open_regular(path)
  except UnicodeEncodeError as error:
    raise images.UnreadableError("its path is not UTF-8") from error
  except (OSError, ValueError) as error:
    raise images.UnreadableError(errors.describe(error)) from error


def thumbnail(image: np.ndarray) -> tuple[bytes, str]:
  """Encode pixels uint8 [H,W,3] for a page, without resizing.

  Returns:
    The bytes of a PNG or JPEG file, and its media type.
  """
  buffer = io.BytesIO()
  # JPEG would blur small images and save nothing.
  kind = "png" if len(image) <= 64 else "jpeg"
  Image.fromarray(image).save(buffer, kind, quality=85)
  return buffer.getvalue(), f"image/{kind}"


class RunEncoder:
  """The encoder of a run, with a fixed batch size.

  Attributes:
    size: Side of its input images, pixels.
    resize: Resize rule of the run, for `images.read`.
    num_bits: K.
    class_names: Names of the L labels of the run.
    num_features: F of the vectors that it takes in place of images; None for
      images.
    sha256: `encoder_sha256` of the run.
  """

  def __init__(self, workdir: str, batch_size: int):
    """Load a finished run to encode `batch_size` images at once."""
    run = trained.load_run(workdir)
    self.size = run.image_size
    self.resize = run.config.data.resize
    self.num_bits = run.config.bits
    self.class_names = run.class_names
    self.num_features = run.num_features
    self.sha256 = run.encoder_sha256
    # One device: sharding a small batch does not pay, and a batch of one
    # cannot be sharded.
    mesh = parallel.DeviceMesh("jit", jax.local_devices()[:1])
    self._encode = encoding.BatchEncoder(run.encode_step(), mesh, batch_size)
    self._weights = mesh.replicate(run.weights)

  def __call__(self, pixels: Sequence[np.ndarray]) -> np.ndarray:
    """Encode images uint8 [size,size,3] to uint32 [N,ceil(K/32)], N >= 1."""
    return self.encode(np.stack(pixels))

  def encode(self, items: np.ndarray) -> np.ndarray:
    """Encode images uint8 [N,size,size,3], or features float [N,F]."""

    def take(rows):
      return np.asarray(items[rows])

    return self._encode(self._weights, take, len(items))
