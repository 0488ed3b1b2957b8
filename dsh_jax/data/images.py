"""Safe decoding of image files to square RGB arrays."""

import contextlib
import io
import warnings
from collections.abc import Callable, Iterator
from typing import BinaryIO

import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

# Few formats: every parser is an attack surface for untrusted files.
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF")
# 400 MB as Pillow holds them; checked in the header, before decoding.
MAX_PIXELS = 100_000_000
_STRIP_PIXELS = 4_000_000  # Converted to RGB at a time.
RESIZE_RULES = ("squash", "crop", "crop_bicubic")


Reserve = Callable[[int], contextlib.AbstractContextManager]


class UnreadableError(ValueError):
  """Bytes that cannot be decoded as an image."""


def decode(
  encoded: bytes | BinaryIO,
  size: int,
  resize: str = "squash",
  reserve: Reserve = contextlib.nullcontext,
) -> np.ndarray:
  """Decode an image, apply its EXIF orientation, convert to RGB and resize.

  Grey, palette, CMYK and 16-bit images become RGB; transparent ones get a white
  background.

  Args:
    encoded: A JPEG, PNG, WebP, BMP or GIF file: its bytes, or open for reading;
      it is read from its start.
    size: Side of the result, pixels, at least 1.
    resize: "squash" scales both sides to `size`, as most published hashing
      code does; "crop" scales the shorter side to `size` and crops the centre;
      "crop_bicubic" does so with bicubic interpolation, not bilinear.
    reserve: Called with the bytes of memory that decoding takes; decoding is
      done inside the context that it returns.

  Returns:
    uint8 [size,size,3].

  Raises:
    UnreadableError: The bytes are damaged or of another format, or the image
      has more than `MAX_PIXELS` pixels.
  """

  def plan(width, height):
    left, top = 0.0, 0.0
    if resize != "squash":
      side = min(width, height)
      left, top = (width - side) / 2, (height - side) / 2
    return (size, size), (left, top, width - left, height - top)

  weights = Image.Resampling.BILINEAR
  if resize == "crop_bicubic":
    weights = Image.Resampling.BICUBIC
  return _decode(encoded, (size, size), plan, weights, reserve)


def decode_whole(
  encoded: bytes | BinaryIO,
  max_side: int,
  reserve: Reserve = contextlib.nullcontext,
) -> np.ndarray:
  """Decode an image for display: as `decode`, with its own proportions.

  Args:
    encoded: As for `decode`.
    max_side: The longer side of the result, pixels; smaller images keep their
      size.
    reserve: As for `decode`.

  Returns:
    uint8 [H,W,3].
  """

  def plan(width, height):
    scale = min(1.0, max_side / max(width, height))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return size, (0.0, 0.0, width, height)

  return _decode(
    encoded, (max_side, max_side), plan, Image.Resampling.BOX, reserve
  )


def num_pixels(file: BinaryIO) -> int:
  """Return the pixels of an image that `decode` can open."""
  file.seek(0)
  with Image.open(file, formats=FORMATS) as image:
    return image.width * image.height


def _decode(encoded, wanted, plan, weights, reserve):
  """Decode and resize; plan(width, height) gives the size and the box of it."""
  file = io.BytesIO(encoded) if isinstance(encoded, bytes) else encoded
  file.seek(0)
  with _unreadable():
    image = Image.open(file, formats=FORMATS)
    width, height = image.size
    if max(width, wanted[0]) * max(height, wanted[1]) > MAX_PIXELS:
      raise UnreadableError(
        f"{width} x {height} pixels; at most {MAX_PIXELS:,} are decoded"
      )
    # JPEG only: decode at 1/2, 1/4 or 1/8, never below the wanted size.
    image.draft(None, wanted)
    num_bytes = _decoding_bytes(image, width * height)
  with reserve(num_bytes), _unreadable():
    try:
      ImageOps.exif_transpose(image, in_place=True)
      return np.asarray(_resize(image, *plan(*image.size), weights))
    finally:
      del image  # Its pixels, before others take the memory.


@contextlib.contextmanager
def _unreadable() -> Iterator[None]:
  """Make any error of Pillow an UnreadableError."""
  try:
    yield
  except UnreadableError:
    raise
  except UnidentifiedImageError as error:
    names = f"{', '.join(FORMATS[:-1])} or {FORMATS[-1]}"
    raise UnreadableError(f"not a {names} file") from error
  # Pillow's parsers raise almost anything on damaged bytes.
  except Exception as error:
    # Without the traceback, which would keep the pixels.
    raise UnreadableError(
      str(error) or type(error).__name__
    ) from error.with_traceback(None)


def _decoding_bytes(image: Image.Image, num_pixels: int) -> int:
  """Return how much memory an opened image takes.

  Args:
    image: The image, after `draft`.
    num_pixels: Its pixels before that.
  """
  held = image.width * image.height
  # Pillow has four bytes a pixel, also of RGB, and a strip has five copies.
  num_bytes = 4 * held + 20 * min(held, _STRIP_PIXELS)
  if image.format == "WEBP":  # Its decoder has four copies of the canvas.
    num_bytes += 16 * held
  if image.info.get("progressive"):  # All coefficients of a JPEG.
    num_bytes += 2 * len(image.getbands()) * num_pixels
  # That of a PNG would decode it.
  exif = Image.Image.getexif(image)
  if exif.get(ExifTags.Base.Orientation, 1) != 1:
    num_bytes *= 2
  return num_bytes


def _resize(image, size, box, weights):
  """Resize part of an image to RGB, with no RGB copy of all of a large one."""
  rows = max(1, _STRIP_PIXELS // image.width)
  if image.height <= rows:
    image = _to_rgb(image)
    return image if image.size == size else image.resize(size, weights, box)
  left, top, right, bottom = box
  narrow = Image.new("RGB", (size[0], image.height))
  for first in range(0, image.height, rows):
    last = min(first + rows, image.height)
    strip = _to_rgb(image.crop((0, first, image.width, last)))
    inside = (left, 0, right, strip.height)
    strip = strip.resize((size[0], strip.height), weights, inside)
    narrow.paste(strip, (0, first))
  return narrow.resize(size, weights, (0, top, size[0], bottom))


def _to_rgb(image):
  if image.mode.startswith("I"):  # 16 bits a pixel; convert() would clip.
    return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8)).convert(
      "RGB"
    )
  if image.has_transparency_data:
    image = image.convert("RGBA")
    white = Image.new("RGBA", image.size, "white")
    image = Image.alpha_composite(white, image)
  return image.convert("RGB")


# The limit above replaces Pillow's own, which only warns.
Image.MAX_IMAGE_PIXELS = MAX_PIXELS
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
