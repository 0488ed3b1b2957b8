"""Arrays on disk: damaged, half-built, on a full disk."""

import errno
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

import fake_archives
import numpy as np
import pytest

from dsh_jax import data, errors
from dsh_jax.data import checked, decoding, images

NUM_IMAGES = 2000
NUMBERS = dict(num_train=20, num_query=5, num_validation=4)


@pytest.fixture(scope="module")
def options(tmp_path_factory):
  folder = tmp_path_factory.mktemp("archives")
  return fake_archives.csv(folder, NUM_IMAGES) | NUMBERS


@pytest.fixture(scope="module")
def built(tmp_path_factory, options):
  folder = tmp_path_factory.mktemp("data")
  splits = data.load_splits("listfile", "", str(folder), 24, **options)
  return folder, splits


@pytest.fixture
def copied(built, tmp_path):
  """Root and arrays folder of a copy that a test may damage."""
  shutil.copytree(built[0], tmp_path / "data")
  (folder,) = (tmp_path / "data" / "arrays").glob("*-v?-????????")
  return tmp_path / "data", folder


def _load(folder, options, size=24):
  return data.load_splits("listfile", "", str(folder), size, **options)


def _pixels(splits):
  images = splits.train.images
  return images[np.arange(len(images))].tobytes()


def test_the_second_call_only_maps_the_files(built, options, monkeypatch):
  def fail(*args, **kwargs):
    raise AssertionError("built again")

  monkeypatch.setattr(decoding, "build", fail)
  splits = _load(built[0], options)
  assert splits.sha256 == built[1].sha256
  assert isinstance(splits.train.images, checked.CheckedArray)
  assert splits.train.images.shape == (NUM_IMAGES, 24, 24, 3)


def test_images_are_those_of_the_files(built, options):
  split = built[1].database
  for index in (0, len(split) - 1):
    path = f"{options['manual_dir']}/{split.ids[index]}"
    with open(path, "rb") as file:
      expected = images.decode(file.read(), 24)
    np.testing.assert_array_equal(split.take(np.array([index]))[0], expected)


_KILLED = """
import sys
from dsh_jax import data
data.load_splits("listfile", "", {folder!r}, 24, **{options!r})
"""


def test_killed_builds_resume_with_equal_results(built, options, tmp_path):
  """SIGKILL at five moments of the build, then a run to the end."""
  code = _KILLED.format(folder=str(tmp_path), options=options)
  parts = []
  for pause in (0.0, 0.05, 0.1, 0.2, 0.3):
    process = subprocess.Popen(
      [sys.executable, "-c", code], stderr=subprocess.PIPE, text=True
    )
    for line in process.stderr:  # Wait until it builds.
      if "reading" in line or "decoding" in line:
        break
    time.sleep(pause)
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stderr.close()
    parts.append(len(list(tmp_path.glob("arrays/*.partial/part*.json"))))
    if list(tmp_path.glob("arrays/*-v?-????????")):
      break
  splits = _load(tmp_path, options)
  assert _pixels(splits) == _pixels(built[1])
  assert splits.sha256 == built[1].sha256
  assert not list(tmp_path.glob("arrays/*.partial"))
  assert not list(tmp_path.glob("listfile/*/incomplete*"))


def test_a_partial_build_is_resumed(copied, options, monkeypatch):
  """Only parts without a finished file are decoded again."""
  root, folder = copied
  shutil.rmtree(folder)
  decoded = []
  decode = images.decode

  def stop_in_the_middle(*args):
    if len(decoded) >= 700:
      raise KeyboardInterrupt
    decoded.append(1)
    return decode(*args)

  monkeypatch.setattr(images, "decode", stop_in_the_middle)
  with pytest.raises(KeyboardInterrupt):
    _load(root, options)
  assert not folder.exists()
  finished = len(list((root / "arrays").glob("*.partial/part*.json")))
  assert finished >= 1
  resumed = []
  monkeypatch.setattr(
    images, "decode", lambda *args: resumed.append(1) or decode(*args)
  )
  _load(root, options)
  assert len(resumed) == NUM_IMAGES - 256 * finished


@pytest.fixture(scope="module")
def few(tmp_path_factory):
  """Options and splits of sixty images."""
  folder = tmp_path_factory.mktemp("few")
  options = fake_archives.csv(folder, 60) | NUMBERS
  return options, _load(folder / "data", options)


@pytest.mark.parametrize("name", ["images.npy", "labels.npy", "info.json"])
def test_damaged_files_are_built_again(few, name, capsys):
  options, expected = few
  folder = pathlib.Path(expected.train.images.filename).parent
  content = (folder / name).read_bytes()
  # Pixels are compared when they are read, not here.
  changed = content[:-1] + bytes([content[-1] ^ 1])
  for bad in (content[:100], b"", *[changed] * (name != "images.npy")):
    (folder / name).write_bytes(bad)
    splits = _load(folder.parents[1], options)
    (line,) = [x for x in capsys.readouterr().err.splitlines() if "dam" in x]
    assert str(folder) in line and line.endswith("building it again.")
    assert splits.sha256 == expected.sha256
    assert splits.content_sha256 == expected.content_sha256
    assert (folder / name).read_bytes() == content


def test_damaged_records_are_built_again(few, capsys):
  options, expected = few
  folder = pathlib.Path(expected.train.images.filename).parent
  (info,) = (folder.parents[1] / "listfile").rglob("dataset_info.json")
  for path, content in (
    (info, info.read_bytes()[:-9]),
    (info.with_name("metadata.json"), b'{"absent": 7, "unlabelled": 0}'),
  ):
    shutil.rmtree(folder)
    path.write_bytes(content)
    splits = _load(folder.parents[1], options)
    assert f"{path.name} was modified" in capsys.readouterr().err
    assert splits.content_sha256 == expected.content_sha256
    assert splits.notes == expected.notes
  (records,) = info.parent.glob("*.array_record-*")
  content = bytearray(records.read_bytes())
  content[len(content) // 2] ^= 1
  records.write_bytes(content)
  shutil.rmtree(folder)
  with pytest.raises(errors.UserError, match=f"records in {info.parent}: "):
    _load(folder.parents[1], options)
  shutil.rmtree(info.parent)
  assert _load(folder.parents[1], options).notes == expected.notes


def test_a_changed_pixel_is_noticed_when_it_is_read(few):
  """Zeroed bytes, as an unclean shutdown leaves them."""
  options, splits = few
  path = pathlib.Path(splits.train.images.filename)
  splits = _load(path.parents[2], options)  # Mapped before it was damaged.
  rows = splits.train.rows
  expected = splits.train.take(np.array([3]))
  with path.open("r+b") as file:
    file.seek(-(60 - int(rows[3])) * expected.size, os.SEEK_END)
    file.write(bytes(100))
  train = _load(path.parents[2], options).train
  train.take(np.arange(3))  # Undamaged rows.
  with pytest.raises(errors.UserError, match=f"Row {rows[3]} .* is damaged. R"):
    train.take(np.arange(5))
  train = _load(path.parents[2], options).train
  np.testing.assert_array_equal(train.take(np.array([3])), expected)


def test_a_damaged_part_of_a_killed_build_is_decoded_again(
  few, tmp_path, monkeypatch
):
  options, expected = few

  def killed(*args):
    raise KeyboardInterrupt

  with monkeypatch.context() as patch:
    patch.setattr(decoding, "_create_info", killed)
    with pytest.raises(KeyboardInterrupt):
      _load(tmp_path, options)
  (part,) = (tmp_path / "arrays").glob("*.partial/part*.json")
  id_of_first = expected.database.ids[0]
  text = part.read_text()
  assert text.count(id_of_first) == 1
  part.write_text(text.replace(id_of_first, id_of_first[::-1]))
  splits = _load(tmp_path, options)
  assert splits.sha256 == expected.sha256


def test_lack_of_space_is_found_before_decoding(options, tmp_path, monkeypatch):
  usage = shutil.disk_usage(tmp_path)
  monkeypatch.setattr(
    shutil, "disk_usage", lambda path: usage._replace(free=2**20)
  )
  with pytest.raises(errors.UserError, match="needs .* GiB .* are free"):
    _load(tmp_path, options)


def test_a_disk_that_fills_up_and_is_freed(options, tmp_path, monkeypatch):
  def full(*args):
    raise OSError(errno.ENOSPC, "No space left on device")

  with monkeypatch.context() as patch:
    patch.setattr(os, "posix_fallocate", full)
    with pytest.raises(errors.UserError, match="No space left"):
      _load(tmp_path, options)
  assert _load(tmp_path, options).train.images.shape[0] == NUM_IMAGES


def test_a_data_folder_that_cannot_be_written(options, tmp_path):
  (tmp_path / "file").write_text("")
  with pytest.raises(errors.UserError, match="config.data.dir"):
    _load(tmp_path / "file" / "data", options)


def test_unreadable_images_are_counted(options, tmp_path):
  folder = tmp_path / "archive"
  options = fake_archives.csv(folder, 110) | NUMBERS
  (folder / "pictures" / "003.jpg").write_bytes(b"no picture")
  splits = _load(tmp_path / "data", options)
  assert splits.notes["unreadable"] == 1
  assert splits.notes["listed"] == 110
  assert list(splits.notes["first_unreadable"]) == ["pictures/003.jpg"]
  assert "pictures/003.jpg" not in {*splits.database.ids, *splits.query.ids}
  (folder / "pictures" / "004.jpg").write_bytes(
    fake_archives.jpeg(4)[:300]  # Truncated.
  )
  with pytest.raises(errors.UserError, match="2 of 110 .*max_missing"):
    _load(tmp_path / "data", options)
  assert _load(tmp_path / "data", options | {"max_missing": 0.02})
