"""Array files: damaged ones give one-line errors in every reader."""

import os
import zipfile

import numpy as np
import pytest

from dsh_jax import errors, files
from dsh_jax.apps import evaluate, index
from dsh_jax.report import run_files


def _truncated(content):
  return content[: len(content) // 2]


def _empty(content):
  return b""


def _flipped(content):
  """Change a byte of the first array."""
  return content[:200] + bytes([content[200] ^ 255]) + content[201:]


def _without_end(content):
  return content[:-10]


def _text(content):
  return b"no array"


@pytest.fixture(params=[np.savez, np.savez_compressed])
def save(request):
  return request.param


@pytest.fixture(
  params=[_truncated, _empty, _flipped, _without_end, _text],
  ids=lambda damage: damage.__name__,
)
def damaged(request, save, tmp_path):
  """A run with a damaged codes.npz."""
  path = tmp_path / "codes.npz"
  arrays = {"num_bits": np.asarray(32), "class_names": np.array(["a"])}
  for kind in ("query", "database"):
    arrays[f"{kind}_codes"] = np.arange(50, dtype=np.uint32)[:, None]
    arrays[f"{kind}_labels"] = np.ones((50, 1), np.uint8)
    arrays[f"{kind}_ids"] = np.arange(50).astype(str)
  save(path, **arrays)
  for name in ("config.json", "result.json"):
    (tmp_path / name).write_text("{}")
  assert len(index.load(str(path))) == len(run_files.read(str(tmp_path)).sample)
  path.write_bytes(request.param(path.read_bytes()))
  return path


def test_a_damaged_file_raises_value_error(damaged):
  with pytest.raises(ValueError):
    files.read_arrays(damaged)


def test_loading_an_index_names_the_damaged_file(damaged):
  with pytest.raises(errors.UserError, match="codes.npz cannot be .* Give "):
    index.load(str(damaged))


def test_a_report_names_the_damaged_file(damaged):
  with pytest.raises(errors.UserError, match="codes.npz is damaged. Restore"):
    run_files.read(str(damaged.parent))


def test_an_evaluation_names_the_damaged_file(damaged):
  with pytest.raises(errors.UserError, match="Cannot read .*codes.npz"):
    evaluate.load_items(str(damaged), None, "query")


@pytest.mark.parametrize(
  "changed",
  [
    {"num_bits": np.array([8])},
    {"num_bits": np.asarray(8.5)},
    {"num_bits": np.asarray("8")},
    {"database_codes": np.asarray(3, np.uint32)},
    {"database_codes": np.zeros((2, 1), np.int64)},
    {"database_ids": np.asarray("a")},
    {"database_ids": np.arange(2)},
    {"root": np.array(["a", "b"])},
    {"workdir": np.zeros((0, 2))},
    {"encoder_sha256": np.arange(3)},
  ],
  ids=str,
)
def test_an_index_of_other_shapes_is_refused(changed, tmp_path):
  arrays = {
    "num_bits": np.asarray(8),
    "database_codes": np.zeros((2, 1), np.uint32),
    "database_ids": np.array(["a", "b"]),
  }
  path = tmp_path / "codes.npz"
  np.savez(path, **arrays)
  assert len(index.load(str(path))) == 2
  np.savez(path, **arrays | changed)
  with pytest.raises(errors.UserError, match="codes.npz cannot be .* Give "):
    index.load(str(path))


def test_an_archive_that_expands_is_refused(tmp_path, monkeypatch):
  monkeypatch.setattr(files, "_EXPANDED_BYTES", 1_000_000)
  path = tmp_path / "codes.npz"
  with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, True, 1) as archive:
    archive.writestr("0.npy", bytes(1_000_001))
  with pytest.raises(ValueError, match="would expand to 1,000,001"):
    files.read_arrays(path)


def test_a_single_array_is_neither_index_nor_run(tmp_path):
  for name in ("config.json", "result.json"):
    (tmp_path / name).write_text("{}")
  with open(tmp_path / "codes.npz", "wb") as file:
    np.save(file, np.zeros(3))
  with pytest.raises(errors.UserError, match="cannot be read as an index"):
    index.load(str(tmp_path / "codes.npz"))
  with pytest.raises(errors.UserError, match="codes.npz is damaged"):
    run_files.read(str(tmp_path))
  np.savez(tmp_path / "codes.npz", num_bits=np.asarray(8))
  with pytest.raises(errors.UserError, match="is not the file of a run"):
    run_files.read(str(tmp_path))


def test_only_regular_files_are_opened(tmp_path):
  os.mkfifo(tmp_path / "pipe")
  (tmp_path / "zero").symlink_to("/dev/zero")
  for path in (tmp_path / "pipe", tmp_path / "zero", tmp_path):
    with pytest.raises(OSError, match="Not a regular file"):
      files.open_regular(path)
  (tmp_path / "file").write_bytes(b"x")
  (tmp_path / "link").symlink_to("file")
  with files.open_regular(tmp_path / "link") as file:
    assert file.read() == b"x"
