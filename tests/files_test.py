"""Array files: damaged ones give one-line errors in every reader."""

import os
import tracemalloc
import zipfile

import numpy as np
import pytest

from dsh_jax import data, errors, files
from dsh_jax.apps import evaluate, image_lists, index, list_runs
from dsh_jax.models import pretrained, weight_files
from dsh_jax.report import run_files
from dsh_jax.retrieval import faiss_index


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
    {"database_ids": np.array(["a", "b", "c"])},
    {"database_codes": np.zeros((2, 1000), np.uint32)},
    {"class_names": np.array(["a"]), "database_labels": np.ones((2, 2), bool)},
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


def test_an_index_of_other_shapes_is_not_expanded(tmp_path):
  path = tmp_path / "codes.npz"
  np.savez_compressed(
    path,
    num_bits=np.asarray(8),
    database_codes=np.zeros((2**23, 1), np.uint32),
    database_ids=np.array(["a"]),
  )
  tracemalloc.start()
  try:
    with pytest.raises(errors.UserError, match="for 8,388,608 codes"):
      index.load(str(path))
    assert tracemalloc.get_traced_memory()[1] < 2**22
  finally:
    tracemalloc.stop()


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("name", ["database_ids", "class_names", "root"])
def test_an_index_with_text_that_is_not_utf8_is_refused(name, order, tmp_path):
  arrays = {
    "num_bits": np.asarray(8),
    "database_codes": np.zeros((1, 1), np.uint32),
    "database_ids": np.array(["a"]),
    "database_labels": np.ones((1, 1), bool),
    "class_names": np.array(["owl"]),
    "root": np.asarray("/p"),
  }
  path = tmp_path / "codes.npz"
  np.savez(path, **arrays)
  assert index.load(str(path)).class_names == ("owl",)
  text = np.full(arrays[name].shape, "owl \udcff", f"{order}U5")
  np.savez(path, **arrays | {name: text})
  with pytest.raises(errors.UserError, match=f"text in {name} .* not UTF-8"):
    index.load(str(path))


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


def _lists(path):
  return data.load_splits("listfile", train=path, query=path, database=path)


def _classes(path):
  table = os.path.join(os.path.dirname(path), "labels.csv")
  with open(table, "w") as file:
    file.write("a.png,owl\n")
  return data.load_splits("listfile", csv=table, classes=path)


def _labels(path):
  vectors = os.path.join(os.path.dirname(path), "x.npy")
  np.save(vectors, np.zeros((2, 2), np.float32))
  return data.load_splits("features", features=vectors, labels_file=path)


def _features(path):
  return data.load_splits("features", features=path)


def _preprocessing(path):
  weights = os.path.join(os.path.dirname(path), "a.pth")
  open(weights, "w").close()
  return pretrained.preprocessing(weights, "resnet18")


@pytest.mark.parametrize("kind", ["pipe", "endless"])
@pytest.mark.parametrize(
  "name, read",
  [
    ("a.csv", lambda path: data.load_splits("listfile", csv=path)),
    ("a.txt", _lists),
    ("a.txt", _classes),
    ("a.txt", _labels),
    ("a.txt", image_lists.find),
    ("a.npy", _features),
    ("a.npz", _features),
    ("a.safetensors", _features),
    ("a.parquet", _features),
    ("a.npz", index.load),
    ("a.npz", lambda path: evaluate.load_items(path, None, "query")),
    ("config.json", lambda path: run_files.read(os.path.dirname(path))),
    ("a.pth", pretrained.find),
    ("a.npz", weight_files.read),
    ("config.json", _preprocessing),
    ("a.faiss", faiss_index.read_index),
  ],
)
def test_readers_do_not_wait_for_pipes_and_devices(name, read, kind, tmp_path):
  path = tmp_path / name
  os.mkfifo(path) if kind == "pipe" else path.symlink_to("/dev/zero")
  with pytest.raises(errors.UserError, match="(?i)not a regular file"):
    read(str(path))


def test_a_run_that_is_a_pipe_is_listed_as_damaged(tmp_path, capsys):
  os.mkfifo(tmp_path / "config.json")
  list_runs.main([str(tmp_path)])
  assert "damaged" in capsys.readouterr().out
