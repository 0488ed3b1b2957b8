"""A file is replaced completely or not at all."""

import os
import subprocess

import numpy as np
import pytest
from etils import epath

from dsh_jax import errors, files
from dsh_jax.apps import export, image_files


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


@pytest.mark.parametrize("as_path", [lambda path: path, epath.Path])
def test_only_regular_files_are_replaced(tmp_path, as_path):
  os.mkfifo(tmp_path / "pipe")
  (tmp_path / "link").symlink_to("pipe")
  for name in ("pipe", "link"):
    with pytest.raises(OSError, match="Not a regular file"):
      with files.replacing(as_path(tmp_path / name)):
        pass
  assert (tmp_path / "pipe").is_fifo() and (tmp_path / "link").is_symlink()


def test_the_file_that_a_link_names_is_replaced(tmp_path):
  (tmp_path / "folder").mkdir()
  link = tmp_path / "link"
  link.symlink_to("folder/file")
  for text in ("new", "newer"):
    with files.replacing(link) as partial:
      partial.write_text(text)
    assert link.is_symlink()
    assert (tmp_path / "folder" / "file").read_text() == text
  assert len(list((tmp_path / "folder").iterdir())) == 1


def test_an_index_removes_what_a_killed_command_left_of_it(tmp_path):
  killed = subprocess.Popen(["true"])
  killed.wait()
  running = f"a.npz.{os.getppid()}.partial"
  for name in (f"a.npz.{killed.pid}.partial", running, "a.npz.b.partial"):
    (tmp_path / name).touch()
  image_files.write(str(tmp_path / "a.npz"), codes=np.zeros(1))
  names = {path.name for path in tmp_path.iterdir()}
  assert names == {"a.npz", running, "a.npz.b.partial"}


def test_an_index_is_refused_at_once_where_a_pipe_is(tmp_path):
  os.mkfifo(tmp_path / "a.npz")
  with pytest.raises(errors.UserError, match="Cannot write --out=.*regular"):
    with image_files.written(str(tmp_path / "a.npz")):
      raise AssertionError("computed")


def test_an_export_replaces_all_files_or_none(tmp_path):
  os.mkfifo(tmp_path / "b")
  (tmp_path / "a").write_text("old")
  with pytest.raises(OSError, match="Not a regular file"):
    with export._filled(tmp_path) as partial:
      for name in ("a", "b"):
        (partial / name).write_text("new")
  assert (tmp_path / "a").read_text() == "old" and (tmp_path / "b").is_fifo()
