"""Unsafe paths, and missing or damaged files and archives."""

import fake_archives
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsh_jax import errors
from dsh_jax.data import archives


@pytest.mark.parametrize(
  ("path", "clean"),
  [
    ("a/b.jpg", "a/b.jpg"),
    ("a\\b.jpg", "a/b.jpg"),
    ("./a//b.jpg", "a/b.jpg"),
    ("a/..b/c...jpg", "a/..b/c...jpg"),
  ],
)
def test_clean_path(path, clean):
  assert archives.clean_path(path) == clean


@pytest.mark.parametrize(
  "path",
  [
    "", ".", "/etc/passwd", "\\windows", "..", "../a", "a/../../b", "a\\..\\b",
    "C:\\a.jpg", "c:/a", "a\0b",
  ],
)  # fmt: skip
def test_unsafe_paths_are_refused(path):
  with pytest.raises(errors.UserError, match="not allowed"):
    archives.clean_path(path)


@given(st.text())
def test_cleaning_a_path_twice_changes_nothing(text):
  try:
    path = archives.clean_path(text)
  except errors.UserError:
    return
  assert path and not path.startswith("/") and "\\" not in path
  assert ".." not in path.split("/")
  assert archives.clean_path(path) == path


@pytest.fixture(params=["folder", "zip"])
def source(request, tmp_path):
  files = {"x/a.txt": b"one\r\ntwo\r\n\r\n", "x/b/c.txt": b"\xff\xfe"}
  if request.param == "folder":
    fake_archives.write(tmp_path, files)
    return archives.open_first(str(tmp_path), ("x",), ".txt", "the web")
  fake_archives.write_zip(tmp_path / "x.zip", files)
  return archives.open_first(str(tmp_path), ("x.zip/x/",), ".txt", "the web")


def test_folder_and_zip_read_the_same(source):
  assert source.list(".txt") == ["a.txt", "b/c.txt"]
  assert "b/c.txt" in source and "b\\c.txt" in source and "d" not in source
  assert archives.read_lines(source, "a.txt") == ["one", "two"]
  with pytest.raises(errors.UserError, match="c.txt is not UTF-8"):
    archives.read_lines(source, "b/c.txt")
  with pytest.raises(errors.UserError, match="no file d.txt in"):
    source.read("d.txt")
  with pytest.raises(errors.UserError, match="not allowed"):
    source.read("../x/a.txt")


def test_large_files_are_refused(source, monkeypatch):
  monkeypatch.setattr(archives, "MAX_FILE_BYTES", 5)
  with pytest.raises(errors.UserError, match="at most 5 are read"):
    source.read("a.txt")


def test_a_missing_source_names_files_folder_and_download(tmp_path):
  (tmp_path / "x").mkdir()
  with pytest.raises(errors.UserError) as caught:
    archives.open_first(str(tmp_path), ("x", "x.zip"), ".txt", "the web")
  for words in ("x, x.zip", str(tmp_path), "the web", "config.data.manual_dir"):
    assert words in str(caught.value)


def test_a_damaged_archive(tmp_path):
  (tmp_path / "x.zip").write_bytes(b"PK\x03\x04 and no more")
  with pytest.raises(errors.UserError, match="x.zip is damaged"):
    archives.open_first(str(tmp_path), ("x.zip",), ".txt", "the web")


def test_a_damaged_member(tmp_path):
  path = tmp_path / "x.zip"
  fake_archives.write_zip(path, {"a.txt": b"content" * 9})
  path.write_bytes(path.read_bytes().replace(b"content", b"consent", 1))
  source = archives.open_first(str(tmp_path), ("x.zip",), ".txt", "the web")
  with pytest.raises(errors.UserError, match="a.txt in the archive"):
    source.read("a.txt")
