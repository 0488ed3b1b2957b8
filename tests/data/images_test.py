"""Decoding of images of every format, valid and damaged."""

import zlib

import fake_archives
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from dsh_jax.data import images

_LEFT_RED = np.zeros((40, 60, 3), np.uint8)
_LEFT_RED[:, :30] = (250, 10, 10)
_LEFT_RED[:, 30:] = (10, 10, 250)


def _save(image, format="JPEG", **options):
  return fake_archives.encode(image, format, **options)


def _is_near(pixel, colour, within=12):
  return np.abs(pixel.astype(int) - colour).max() <= within


def _is_left_red(array):
  return _is_near(array[8, 3], (250, 10, 10)) and _is_near(
    array[8, 12], (10, 10, 250)
  )


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "BMP"])
def test_colours_and_size(format):
  array = images.decode(_save(Image.fromarray(_LEFT_RED), format), 16)
  assert array.shape == (16, 16, 3) and array.dtype == np.uint8
  assert _is_left_red(array)


def test_an_image_of_the_right_size_is_not_touched():
  pixels = np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)
  encoded = _save(Image.fromarray(pixels), "PNG")
  np.testing.assert_array_equal(images.decode(encoded, 16), pixels)


def test_colour_modes():
  image = Image.fromarray(_LEFT_RED)
  cmyk = _save(image.convert("CMYK"), quality=95)
  assert _is_left_red(images.decode(cmyk, 16))
  palette = _save(image.convert("P"), "PNG")
  assert _is_left_red(images.decode(palette, 16))
  grey = _save(Image.new("L", (30, 20), 77))
  assert _is_near(images.decode(grey, 16), (77, 77, 77), 3)


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparent_is_white(mode):
  empty = (0, 0, 0, 0) if mode == "RGBA" else (0, 0)
  encoded = _save(Image.new(mode, (20, 20), empty), "PNG")
  assert (images.decode(encoded, 8) == 255).all()


def test_sixteen_bits():
  grey = np.full((20, 20), 77 * 256 + 5, np.uint16)
  encoded = _save(Image.fromarray(grey), "PNG")
  assert _is_near(images.decode(encoded, 8), (77, 77, 77), 1)


def test_exif_rotation():
  turned = Image.fromarray(_LEFT_RED).transpose(Image.Transpose.ROTATE_90)
  exif = Image.Exif()
  exif[0x0112] = 6  # Rotate by 90 degrees clockwise.
  encoded = _save(turned, quality=95, exif=exif)
  assert _is_left_red(images.decode(encoded, 16))


def test_resize_rules():
  pixels = np.zeros((20, 60, 3), np.uint8)
  pixels[:, 20:40] = 200
  encoded = _save(Image.fromarray(pixels), "PNG")
  assert (images.decode(encoded, 20, "crop") == 200).all()
  assert not images.decode(encoded, 20, "squash")[:, 0].any()


def test_large_jpegs_are_decoded_at_a_fraction_of_their_size():
  encoded = _save(Image.fromarray(_LEFT_RED).resize((1200, 800)))
  assert _is_left_red(images.decode(encoded, 16))


@pytest.mark.parametrize("kept", [0, 3, 100, 400, -2000])
def test_truncated_jpeg(kept):
  encoded = fake_archives.jpeg(0, (500, 375))[:kept]
  with pytest.raises(images.UnreadableError) as caught:
    images.decode(encoded, 256)
  assert kept >= 0 or "truncated" in str(caught.value)


def test_other_formats_are_refused_unparsed():
  with pytest.raises(images.UnreadableError):
    images.decode(_save(Image.new("RGB", (9, 9)), "TIFF"), 8)


@pytest.mark.parametrize("side", [11_000, 60_000])
def test_bombs_are_refused_before_decoding(side):
  """A PNG of a few bytes that claims billions of pixels."""

  def chunk(kind, content):
    body = kind + content
    crc = zlib.crc32(body).to_bytes(4, "big")
    return len(content).to_bytes(4, "big") + body + crc

  size = side.to_bytes(4, "big")
  encoded = (
    b"\x89PNG\r\n\x1a\n"
    + chunk(b"IHDR", size + size + b"\x08\x02\x00\x00\x00")
    + chunk(b"IDAT", zlib.compress(b""))
    + chunk(b"IEND", b"")
  )
  with pytest.raises(images.UnreadableError, match="pixels"):
    images.decode(encoded, 8)


_VALID = {
  "jpeg": fake_archives.jpeg(1),
  "png": _save(Image.fromarray(_LEFT_RED), "PNG"),
  "gif": _save(Image.fromarray(_LEFT_RED), "GIF"),
}


@settings(max_examples=150, deadline=None)
@given(
  st.sampled_from(sorted(_VALID)),
  st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 255)), max_size=8),
  st.integers(0, 3000),
)
def test_damaged_bytes_decode_or_are_unreadable(kind, changes, kept):
  encoded = bytearray(_VALID[kind][:kept])
  for place, value in changes:
    if encoded:
      encoded[place % len(encoded)] = value
  try:
    assert images.decode(bytes(encoded), 8).shape == (8, 8, 3)
  except images.UnreadableError:
    pass


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "I;16"])
@pytest.mark.parametrize("rule", images.RESIZE_RULES)
def test_a_large_image_is_resized_in_strips(mode, rule, monkeypatch):
  pixels = np.zeros((90, 61, 4), np.uint8)
  pixels[..., :2] = np.indices((90, 61)).transpose(1, 2, 0) * 2
  pixels[..., 3] = 255 - pixels[..., 0]
  image = Image.fromarray(pixels)
  if mode == "I;16":
    image = Image.fromarray(pixels[..., 0].astype(np.uint16) * 256)
  elif mode != "RGBA":
    image = image.convert("RGB").convert(mode)
  encoded = _save(image, "PNG")
  whole = images.decode(encoded, 20, rule).astype(int)
  monkeypatch.setattr(images, "_STRIP_PIXELS", 700)
  assert np.abs(images.decode(encoded, 20, rule) - whole).max() <= 1


def test_memory_is_reserved_before_an_image_is_decoded():
  reserved = []

  def reserve(num_bytes):
    reserved.append(num_bytes)
    raise MemoryError

  large = Image.new("RGB", (800, 600))
  for encoded in (
    _save(large),
    _save(large, progressive=True),
    _save(large, "PNG"),
    _save(large, "WEBP"),
  ):
    with pytest.raises(MemoryError):
      images.decode(encoded, 64, reserve=reserve)
  draft, progressive, png, webp = reserved
  assert draft < 5e5 < 2.8e6 < progressive < 4e6 < 480_000 * 24 <= png < webp


def test_an_image_for_display_keeps_its_proportions():
  encoded = _save(Image.fromarray(_LEFT_RED), "PNG")
  assert images.decode_whole(encoded, 30).shape == (20, 30, 3)
  np.testing.assert_array_equal(images.decode_whole(encoded, 99), _LEFT_RED)


def test_a_long_thin_image_is_refused():
  encoded = _save(Image.new("1", (1, 500_000)), "PNG")
  with pytest.raises(images.UnreadableError, match="at most 100,000,000"):
    images.decode(encoded, 256)
