"""Parts of an index: whose they are, and whether they are whole."""

import numpy as np
import pytest

from dsh_jax import errors
from dsh_jax.apps import parts as parts_lib

INPUT, OTHER = "a" * 64, "b" * 64


def make(folder):
  """Parts of two images and of one, with codes of one word."""
  return parts_lib.Parts(folder / "codes.npz.parts", [2, 1], 1)


def write(parts):
  """Write both parts; the second image cannot be read."""
  parts.write(0, np.array([[7]], np.uint32), ["", "bad"])
  parts.write(1, np.array([[9]], np.uint32), [""])


def test_parts_are_read_in_order_and_removed(tmp_path):
  parts = make(tmp_path)
  with parts.claimed(INPUT):
    write(parts)
    codes, problems = parts.read()
    parts.remove()
  np.testing.assert_array_equal(codes, [[7], [9]])
  assert problems == ["", "bad", ""]
  assert not list(tmp_path.iterdir())


def test_damaged_parts_are_missing(tmp_path):
  parts = make(tmp_path)
  with parts.claimed(INPUT):
    write(parts)
    path = tmp_path / "codes.npz.parts/00000001.npz"
    content = path.read_bytes()
    for damaged in (content[:-9], b"", content.replace(b"codes", b"xodes")):
      path.write_bytes(damaged)
      assert parts.missing() == [1]
      with pytest.raises(errors.UserError, match="Repeat the command"):
        parts.read()
  with parts.claimed(INPUT):
    assert parts.missing() == [1]
  with parts.claimed(OTHER):
    assert parts.missing() == [0, 1]


def test_two_commands_do_not_meet(tmp_path):
  with make(tmp_path).claimed(INPUT):
    with pytest.raises(errors.UserError, match="Another process writes"):
      with make(tmp_path).claimed(OTHER):
        pass
  with make(tmp_path).claimed(OTHER):
    pass


@pytest.mark.parametrize("name", ["thesis.txt", "00000000.npz", ".hidden"])
def test_a_folder_of_the_user_is_left_alone(tmp_path, name):
  kept = tmp_path / "codes.npz.parts" / name
  kept.parent.mkdir()
  kept.write_text("of the user")
  with pytest.raises(errors.UserError, match="Move it, or change --out"):
    with make(tmp_path).claimed(INPUT):
      pass
  assert [path.name for path in kept.parent.iterdir()] == [name]
