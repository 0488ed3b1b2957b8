"""Image files: their pixels, and arrays computed from them."""

import contextlib
import io
import json
import os
import pathlib
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent import futures
from typing import BinaryIO, NamedTuple

import numpy as np
from PIL import Image

from dsh_jax import errors, files, parallel
from dsh_jax.apps import image_lists
from dsh_jax.data import images
from dsh_jax.runs import parts

_NAMED = 10  # Unreadable images that are printed.


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


class Computed(NamedTuple):
  """Arrays computed from the images of a folder or a list.

  Attributes:
    root: The folder that names are relative to.
    names: Paths of all images.
    readable: bool, which of them can be read.
    arrays: Arrays of the readable ones, by name.
    unreadable: Path, with escapes, -> why it cannot be read.
  """

  root: pathlib.Path
  names: Sequence[str]
  readable: np.ndarray
  arrays: Mapping[str, np.ndarray]
  unreadable: Mapping[str, str]


@contextlib.contextmanager
def computed(
  source: str,
  out: str,
  size: int,
  resize: str,
  compute: Callable[[np.ndarray], Mapping[str, np.ndarray]],
  title: str,
  fingerprint: str,
) -> Iterator[Computed]:
  """Yield arrays computed from images, for the caller to write to `out`.

  Args:
    source: See `image_lists.find`.
    out: The .npz file. Meanwhile, parts are in a folder next to it, from which
      a later call resumes.
    size: Side of the images, pixels.
    resize: A rule of `images.RESIZE_RULES`.
    compute: Pixels uint8 [n,size,size,3] -> arrays of n rows, by name.
    title: Title of the progress bar; {} is the number of images.
    fingerprint: All that the arrays depend on besides the images.

  Raises:
    UserError: A path is wrong, no image can be read, or a file cannot be
      written, by the caller either.
  """
  root, names = image_lists.find(source)
  blank = np.zeros((size, size, 3), np.uint8)

  def decode(name):
    try:
      return read(root / name, size, resize), ""
    except images.UnreadableError as error:
      return blank, str(error) or "unreadable"

  stamps = [_stamp(root / name) for name in names]
  made_of = json.dumps([fingerprint, str(root), names, stamps])
  with (
    written(out) as path,
    futures.ThreadPoolExecutor(parallel.num_cores()) as pool,
  ):
    decoding: dict[int, futures.Future] = {}

    def compute_rows(rows):
      for row in range(rows[0], min(rows[-1] + 1 + parts.ROWS, len(names))):
        if row not in decoding:  # The next part, during this one.
          decoding[row] = pool.submit(decode, names[row])
      pixels, problems = zip(
        *(decoding.pop(row).result() for row in rows), strict=True
      )
      return {**compute(np.stack(pixels)), "problems": np.array(problems, str)}

    with parts.computed(
      path.with_name(f"{path.name}.parts"),
      len(names),
      compute_rows,
      title.format(f"{len(names):,} images"),
      made_of,
    ) as arrays:
      problems = arrays.pop("problems")
      readable = problems == ""
      if not readable.any():
        raise errors.UserError(
          f"None of the {len(names)} images of --images={source} can be read;"
          f" the first is {names[0]}: {problems[0]}."
        )
      yield Computed(
        root,
        names,
        readable,
        {name: array[readable] for name, array in arrays.items()},
        {
          errors.printable(name): str(why)
          for name, why in zip(names, problems, strict=True)
          if why
        },
      )


def write(out: str, **arrays: np.ndarray) -> None:
  """Write an .npz file atomically.

  Raises:
    UserError: It cannot be written.
  """
  with written(out) as path:
    with files.replacing(path) as partial, partial.open("wb") as file:
      np.savez(file, **arrays)


@contextlib.contextmanager
def written(out: str) -> Iterator[pathlib.Path]:
  """Yield the path of an .npz file; an OSError becomes a UserError.

  Removes what killed commands left of it.
  """
  errors.check_utf8(out, "--out")
  path = pathlib.Path(out).expanduser()
  if path.suffix != ".npz" or path.is_dir():
    raise errors.UserError(f"--out={out} must be a file that ends in .npz.")
  try:
    path.parent.mkdir(parents=True, exist_ok=True)
    files.remove_partial(files.destination(path))
    yield path
  except OSError as error:
    raise errors.UserError(
      f"Cannot write --out={out}: {errors.describe(error)}. Give a file in a"
      " folder that you may write to."
    ) from error


def print_unreadable(unreadable: Mapping[str, str], out: str) -> None:
  """Print which images were left out, and why."""
  for name, why in list(unreadable.items())[:_NAMED]:
    print(f"Left out {name}: {errors.printable(why)}", file=sys.stderr)
  if len(unreadable) > _NAMED:
    print(
      f"Left out {len(unreadable) - _NAMED} more; all are in unreadable_ids of"
      f" {out}.",
      file=sys.stderr,
    )


def _stamp(path: pathlib.Path) -> list[int]:
  """Return size and time of a file, or () if it is missing."""
  try:
    status = os.stat(path)
  except (OSError, ValueError):
    return []
  return [status.st_size, status.st_mtime_ns]
