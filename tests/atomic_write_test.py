"""A file is replaced completely or not at all."""

import pytest
from etils import epath

from dsh_jax import files


@pytest.mark.parametrize("as_path", [lambda path: path, epath.Path])
def test_a_file_is_replaced_when_it_is_complete(tmp_path, as_path):
  path = as_path(tmp_path / "file")
  for text in ("old", "new"):
    with files.replacing(path) as partial:
      partial.write_text(text)
      assert path.exists() == (text == "new")
    assert path.read_text() == text
  assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_an_error_leaves_the_old_file_alone(tmp_path, error):
  path = tmp_path / "file"
  path.write_text("old")
  with pytest.raises(error), files.replacing(path) as partial:
    partial.write_text("ne")
    raise error
  assert [*tmp_path.iterdir()] == [path] and path.read_text() == "old"


def test_an_error_before_writing_is_raised(tmp_path):
  with pytest.raises(FileNotFoundError):
    with files.replacing(tmp_path / "absent" / "file") as partial:
      partial.write_text("new")
