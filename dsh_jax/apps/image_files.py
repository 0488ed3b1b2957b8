"""Picture files: which there are, their pixels, and their codes."""

import csv
import io
import os
import pathlib
from collections.abc import Sequence

import jax
import numpy as np
from PIL import Image

from dsh_jax import errors, parallel
from dsh_jax.data import images
from dsh_jax.runs import encoding, trained

SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".webp")


def find(source: str) -> tuple[pathlib.Path, list[str]]:
  """Finds the pictures of a folder or a list.

  Args:
    source: A folder, searched with its subfolders; or a text file with a path
      a line, after which labels `0 1 0 ...` may stand; or a .csv file with
      paths in its first column. Paths are relative to the file's folder.

  Returns:
    The folder, and the paths relative to it, each once: of a folder in
    alphabetical order, of a list in its order.

  Raises:
    UserError: There is no such folder or list, or it names no picture.
  """
  path = pathlib.Path(source).expanduser().absolute()
  if path.is_dir():
    root, names = path, _walk(path)
  else:
    try:
      text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
      raise errors.UserError(
        f"--images={source} is neither a folder nor a list of pictures:"
        f" {error}."
      ) from None
    root = path.parent
    if path.suffix.lower() == ".csv":
      rows = (row[0].strip() for row in csv.reader(io.StringIO(text)) if row)
      names = [row for row in rows if row and row.lower() != "path"]
    else:
      lines = (line.strip() for line in text.splitlines())
      names = [_without_labels(root, line) for line in lines if line]
  names = list(dict.fromkeys(names))
  if not names:
    raise errors.UserError(
      f"--images={source} has no pictures. Pictures of a folder end in"
      f" {', '.join(SUFFIXES)}."
    )
  return root, names


def _walk(root: pathlib.Path) -> list[str]:
  names = []
  for folder, _, files in os.walk(root):
    for file in files:
      if file.lower().endswith(SUFFIXES) and not file.startswith("."):
        path = pathlib.Path(folder, file).relative_to(root)
        names.append(path.as_posix())
  return sorted(names)


def _without_labels(root: pathlib.Path, line: str) -> str:
  if (root / line).is_file():
    return line
  words = line.split()
  while len(words) > 1 and words[-1] in ("0", "1"):
    words.pop()
    line = line[:-1].rstrip()
  return line


def read(path: pathlib.Path, size: int, resize: str) -> np.ndarray:
  """Returns the pixels of a picture file, uint8 [size,size,3].

  Args:
    path: The file.
    size: Side of the result, pixels.
    resize: A rule of `images.RESIZE_RULES`.

  Raises:
    UnreadableError: It cannot be read, or is no picture.
  """
  try:
    encoded = path.read_bytes()
  except (OSError, ValueError) as error:
    reason = getattr(error, "strerror", None) or error
    raise images.UnreadableError(str(reason)) from error
  return images.decode(encoded, size, resize)


def thumbnail(image: np.ndarray) -> tuple[bytes, str]:
  """Encodes pixels uint8 [H,W,3] for a page, in their own size.

  Returns:
    The bytes of a PNG or JPEG file, and its media type.
  """
  buffer = io.BytesIO()
  # JPEG blurs what is small, and saves nothing there.
  kind = "png" if len(image) <= 64 else "jpeg"
  Image.fromarray(image).save(buffer, kind, quality=85)
  return buffer.getvalue(), f"image/{kind}"


class RunEncoder:
  """The encoder of a run, for batches of its own size.

  Attributes:
    size: Side of the images that it takes, pixels.
    resize: How the run made its images square, for `read`.
    num_bits: K.
    num_features: F of the vectors that it takes in place of images; None for
      images.
  """

  def __init__(self, workdir: str, batch_size: int):
    """Loads a run.

    Args:
      workdir: Folder of a finished run.
      batch_size: Images at once, at least 1.

    Raises:
      UserError: It is not the folder of a finished run.
    """
    run = trained.load_run(workdir)
    self.size = run.image_size
    self.resize = run.config.data.resize
    self.num_bits = run.config.bits
    self.num_features = run.num_features
    # One device: small batches do not pay to mesh, and a batch of one
    # cannot be.
    mesh = parallel.DeviceMesh("jit", jax.local_devices()[:1])
    self._encode = encoding.BatchEncoder(run.encode_step(), mesh, batch_size)
    self._weights = mesh.replicate(run.weights)

  def __call__(self, pixels: Sequence[np.ndarray]) -> np.ndarray:
    """Encodes images uint8 [size,size,3] or vectors float [F], N >= 1 of them.

    Returns:
      uint32 [N,ceil(K/32)].

    Raises:
      UserError: The network gives NaN.
    """
    return self.encode(np.stack(pixels))

  def encode(self, items: np.ndarray) -> np.ndarray:
    """As `__call__`, of an array of all, which may be memory-mapped."""

    def take(rows):
      return np.asarray(items[rows])

    return self._encode(self._weights, take, len(items))
