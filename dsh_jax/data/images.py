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

# Bytes of memory -> context in which they are used.
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

  Grey, palette, CMYK and 16-bit images become RGB. Transparent images get a
  white background.

  Args:
    encoded: A file in one of `FORMATS`: its bytes, or open for reading.
    size: Side of the result, pixels, at least 1.
    resize: "squash" scales both sides to `size`, as most published hashing
      code does; "crop" scales the shorter side to `size` and crops the centre;
      "crop_bicubic" interpolates bicubically instead of bilinearly.
    reserve: Called with the bytes of memory that decoding needs; decoding runs
      inside the context that it returns.

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

  sampling = Image.Resampling.BILINEAR
  if resize == "crop_bicubic":
    sampling = Image.Resampling.BICUBIC
  return _decode(encoded, (size, size), plan, sampling, reserve)


def decode_whole(
  encoded: bytes | BinaryIO,
  max_side: int,
  reserve: Reserve = contextlib.nullcontext,
) -> np.ndarray:
  """Decode an image like `decode`, but keep its aspect ratio: uint8 [H,W,3].

  Sides longer than `max_side` pixels are scaled down to it.
  """

  def plan(width, height):
    scale = min(1.0, max_side / max(width, height))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return size, (0.0, 0.0, width, height)

  return _decode(
    encoded, (max_side, max_side), plan, Image.Resampling.BOX, reserve
  )


def num_pixels(file: BinaryIO) -> int:
  """Return the number of pixels of an image that `decode` can open."""
  file.seek(0)
  with Image.open(file, formats=FORMATS) as image:
    return image.width * image.height


def _decode(encoded, min_size, plan, sampling, reserve):
  """Decode at no less than `min_size` (width, height) and resize.

  plan(width, height) is the size of the result and the box that it shows.
  """
  file = io.BytesIO(encoded) if isinstance(encoded, bytes) else encoded
  file.seek(0)
  with _unreadable():
    image = Image.open(file, formats=FORMATS)
    width, height = image.size
    if max(width, min_size[0]) * max(height, min_size[1]) > MAX_PIXELS:
      raise UnreadableError(
        f"{width} x {height} pixels; at most {MAX_PIXELS:,} are decoded"
      )
    # JPEG only: decode at 1/2, 1/4 or 1/8, never below that size.
    image.draft(None, min_size)
    num_bytes = _decoding_bytes(image, width * height)
  with reserve(num_bytes), _unreadable():
    try:
      ImageOps.exif_transpose(image, in_place=True)
      return np.asarray(_resize(image, *plan(*image.size), sampling))
    finally:
      del image  # Free its pixels before the reservation ends.


@contextlib.contextmanager
def _unreadable() -> Iterator[None]:
  """Convert any error of Pillow to UnreadableError."""
  try:
    yield
  except UnreadableError:
    raise
  except UnidentifiedImageError as error:
    names = f"{', '.join(FORMATS[:-1])} or {FORMATS[-1]}"
    raise UnreadableError(f"not a {names} file") from error
  # Pillow's parsers raise almost anything on damaged bytes.
  except Exception as error:
    # The traceback would keep the pixels.
    raise UnreadableError(
      str(error) or type(error).__name__
    ) from error.with_traceback(None)


def _decoding_bytes(image: Image.Image, num_pixels: int) -> int:
  """Return the bytes of memory that decoding takes.

  `num_pixels` is the number of pixels before `draft`.
  """
  decoded = image.width * image.height
  # Pillow stores RGB in four bytes a pixel; a strip has five copies.
  num_bytes = 4 * decoded + 20 * min(decoded, _STRIP_PIXELS)
  if image.format == "WEBP":  # Its decoder holds four copies of the canvas.
    num_bytes += 16 * decoded
  if image.info.get("progressive"):  # All coefficients of a JPEG.
    num_bytes += 2 * len(image.getbands()) * num_pixels
  # image.getexif() would decode a PNG.
  exif = Image.Image.getexif(image)
  if exif.get(ExifTags.Base.Orientation, 1) != 1:
    num_bytes *= 2
  return num_bytes


def _resize(image, size, box, sampling):
  """Resize a box of an image to RGB; convert large images in strips."""
  rows = max(1, _STRIP_PIXELS // image.width)
  if image.height <= rows:
    image = _to_rgb(image)
    return image if image.size == size else image.resize(size, sampling, box)
  left, top, right, bottom = box
  narrow = Image.new("RGB", (size[0], image.height))
  for first in range(0, image.height, rows):
    last = min(first + rows, image.height)
    strip = _to_rgb(image.crop((0, first, image.width, last)))
    box = (left, 0, right, strip.height)
    strip = strip.resize((size[0], strip.height), sampling, box)
    narrow.paste(strip, (0, first))
  return narrow.resize(size, sampling, (0, top, size[0], bottom))


def _to_rgb(image):
  if image.mode.startswith("I"):  # 16 bits a pixel; convert() would clip.
    grey = (np.asarray(image) >> 8).astype(np.uint8)
    return Image.fromarray(grey).convert("RGB")
  if image.has_transparency_data:
    image = image.convert("RGBA")
    white = Image.new("RGBA", image.size, "white")
    image = Image.alpha_composite(white, image)
  return image.convert("RGB")


# MAX_PIXELS replaces Pillow's own limit, which only warns.
Image.MAX_IMAGE_PIXELS = MAX_PIXELS
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
