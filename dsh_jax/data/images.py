"""Safe decoding of image files to square RGB arrays."""

import io
import warnings

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

# Few formats: every parser is an attack surface for untrusted files.
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF")
# 300 MB as RGB; checked in the header, before any pixel is decoded.
MAX_PIXELS = 100_000_000
RESIZE_RULES = ("squash", "crop")


class UnreadableError(ValueError):
  """Bytes that cannot be decoded as an image."""


def decode(encoded: bytes, size: int, resize: str = "squash") -> np.ndarray:
  """Decode an image, apply its EXIF orientation, convert to RGB and resize.

  Grey, palette, CMYK and 16-bit images become RGB; transparent ones get a white
  background.

  Args:
    encoded: Bytes of a JPEG, PNG, WebP, BMP or GIF file.
    size: Side of the result, pixels, at least 1.
    resize: "squash" scales both sides to `size`, as most published hashing
      code does; "crop" scales the shorter side to `size` and crops the centre.

  Returns:
    uint8 [size,size,3].

  Raises:
    UnreadableError: The bytes are damaged or of another format, or the image
      has more than `MAX_PIXELS` pixels.
  """
  try:
    return _decode(encoded, size, resize)
  except UnreadableError:
    raise
  except UnidentifiedImageError as error:
    names = f"{', '.join(FORMATS[:-1])} or {FORMATS[-1]}"
    raise UnreadableError(f"not a {names} file") from error
  # Pillow's parsers raise almost anything on damaged bytes.
  except Exception as error:
    raise UnreadableError(str(error) or type(error).__name__) from error


def _decode(encoded, size, resize):
  with Image.open(io.BytesIO(encoded), formats=FORMATS) as image:
    width, height = image.size
    if width * height > MAX_PIXELS:
      raise UnreadableError(
        f"{width} x {height} pixels; at most {MAX_PIXELS:,} are decoded"
      )
    # JPEG only: decode at 1/2, 1/4 or 1/8, never below the requested size.
    image.draft(None, (size, size))
    ImageOps.exif_transpose(image, in_place=True)
    image = _to_rgb(image)
  if image.size == (size, size):
    return np.asarray(image)
  box = None
  if resize == "crop":
    (width, height), side = image.size, min(image.size)
    left, top = (width - side) / 2, (height - side) / 2
    box = (left, top, left + side, top + side)
  image = image.resize((size, size), Image.Resampling.BILINEAR, box)
  return np.asarray(image)


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
