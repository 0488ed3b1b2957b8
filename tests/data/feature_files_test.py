"""Features in every file format, valid and invalid."""

import json
import struct

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from dsh_jax import data, errors
from dsh_jax.data import feature_files

N, F = 40, 6
RNG = np.random.default_rng(0)
X = RNG.standard_normal((N, F)).astype(np.float16)
Y = (RNG.random((N, 3)) < 0.5).astype(np.uint8)
Y[:, 0] |= ~Y.any(axis=1)
IDS = np.array([f"item {row}" for row in range(N)])
NAMES = np.array(
  [";".join(name for name, has in zip("abc", row, strict=True) if has)
   for row in Y]
)  # fmt: skip
SPLIT = np.repeat(
  ["train;database", "database", "query", "validation"], [20, 8, 7, 5]
)


def _write_safetensors(path, x=X, dtype="F16"):
  entry = {"dtype": dtype, "shape": x.shape, "data_offsets": [0, x.nbytes]}
  header = json.dumps({"features": entry}).encode()
  path.write_bytes(struct.pack("<Q", len(header)) + header + x.tobytes())


def _write(folder, kind):
  """Write the same items in a format; return the options to read them."""
  path = folder / f"features.{kind}"
  if kind == "npz":
    np.savez(path, features=X, labels=NAMES, ids=IDS, split=SPLIT)
  elif kind == "parquet":
    columns = {
      "features": pa.FixedSizeListArray.from_arrays(pa.array(X.ravel()), F),
      "labels": [name.split(";") for name in NAMES],
      "ids": IDS.tolist(),
      "split": SPLIT.tolist(),
    }
    parquet.write_table(pa.table(columns), path)
  else:
    (folder / "ids.txt").write_text("\n".join(IDS))
    np.save(folder / "split.npy", SPLIT)
    if kind == "safetensors":
      _write_safetensors(path)
    else:
      np.save(path, X)
    (folder / "labels.txt").write_text("\n".join(NAMES))
    return {
      "features": str(path),
      "labels_file": str(folder / "labels.txt"),
      "ids_file": str(folder / "ids.txt"),
      "split_file": str(folder / "split.npy"),
    }
  return {"features": str(path)}


@pytest.mark.parametrize("kind", ["npy", "npz", "safetensors", "parquet"])
def test_every_format_gives_the_same_splits(tmp_path, kind):
  splits = data.load_splits("features", **_write(tmp_path, kind))
  assert splits.protocol == "column" and splits.class_names == tuple("abc")
  sizes = [len(getattr(splits, name)) for name in splits.sha256]
  assert sizes == [20, 5, 7, 28]
  np.testing.assert_array_equal(splits.query.take(np.arange(7)), X[28:35])
  np.testing.assert_array_equal(splits.query.labels, Y[28:35])
  np.testing.assert_array_equal(splits.query.ids, IDS[28:35])
  if kind in ("npy", "npz"):
    assert isinstance(splits.train.images, np.memmap)
  assert splits.train.images.dtype == np.float16


def test_without_splits_a_tenth_are_queries_and_groups_stay_together(tmp_path):
  path = tmp_path / "x.npz"
  groups = np.arange(N) // 3
  np.savez_compressed(path, features=X, labels=Y, group=groups)
  splits = data.load_splits("features", features=str(path))
  assert splits.protocol == "auto" and splits.class_names == ("0", "1", "2")
  query, database = (
    set(groups[x.ids.astype(int)]) for x in (splits.query, splits.database)
  )
  assert 4 <= len(splits.query) <= 6 and not query & database


NAN = X.copy()
NAN[5, 2] = np.nan
GOOD = {"features": X, "labels": Y}
BAD = {
  "has no array 'labels'": {"features": X},
  "has no array 'features'": {"vectors": X, "labels": Y},
  "Row 5 of the features": GOOD | {"features": NAN},
  "of type int64": GOOD | {"features": np.arange(6).reshape(3, 2)},
  "have shape": GOOD | {"features": X[0]},
  "labels of 39 items; there are 40": GOOD | {"labels": Y[:39]},
  "hold 2": GOOD | {"labels": Y * 2},
  "hold -1": GOOD | {"labels": np.full(N, -1)},
  "hold 0.5, and class numbers": GOOD | {"labels": np.full(N, 0.5)},
  "look joined by '[|]'.*class_names": GOOD
  | {"labels": np.array(["a|b", "a", "b", "b|a"] * 10)},
  "a different class name": GOOD | {"class_names": ["a", "b", "a"]},
  "no image for the train split.*groups": GOOD | {"group": np.zeros(N)},
  "name no class": GOOD | {"labels": Y * 0},
  "Duplicate id '0.0' in .*40 times": GOOD | {"ids": np.zeros(N)},
  "Unknown split in row 0:": GOOD | {"split": np.full(N, "tarin")},
  "in the split 'query'": GOOD | {"split": np.full(N, "train")},
}


@pytest.mark.parametrize("message", BAD)
def test_bad_input_is_one_error(tmp_path, message):
  path = tmp_path / "bad.npz"
  np.savez(path, **BAD[message])
  with pytest.raises(errors.UserError, match=message) as caught:
    data.load_splits("features", features=str(path))
  assert "config.data." in str(caught.value)


NUMBERS = [np.flatnonzero(row).tolist() for row in Y]
WORDS = [name.split(";") for name in NAMES]


@pytest.mark.parametrize(
  ("kind", "labels", "wanted"),
  [
    ("parquet", NUMBERS, Y),
    ("parquet", [[n % 3] for n in range(N)], np.eye(3)[np.arange(N) % 3]),
    ("parquet", [[0, 1 + n % 2] for n in range(N)], None),
    ("parquet", Y.tolist(), Y),
    ("npz", np.arange(N)[:, None] % 3, np.eye(3)[np.arange(N) % 3]),
    ("npz", np.arange(N) % 3.0, np.eye(3)[np.arange(N) % 3]),
    ("npz", np.array([x + [""] * (3 - len(x)) for x in WORDS]), Y),
  ],
)
def test_labels_in_lists_and_numbers(tmp_path, kind, labels, wanted):
  if wanted is None:
    wanted = [[1, 1 - n % 2, n % 2] for n in range(N)]
  path = tmp_path / f"x.{kind}"
  if kind == "npz":
    np.savez(path, features=X, labels=labels)
  else:
    parquet.write_table(pa.table({"features": list(X), "labels": labels}), path)
  splits = data.load_splits("features", features=str(path))
  assert splits.notes["unlabelled"] == 0 and splits.num_classes == 3
  for split in (splits.train, splits.query):
    np.testing.assert_array_equal(
      split.labels, np.asarray(wanted)[split.ids.astype(int)]
    )


@pytest.mark.parametrize(
  ("labels", "message"),
  [
    ([["a;b"], ["c"]], "has 'a;b'; names must be without ';'"),
    ([["a", None], ["c"]], "lists of the column 'labels' have 1 empty value"),
    ([[1, 1], [2, 0]], "hold a class number twice"),
    ([[1], [-1, 0]], "hold -1"),
  ],
)
def test_bad_lists_of_labels_are_refused(tmp_path, labels, message):
  path = tmp_path / "x.parquet"
  parquet.write_table(
    pa.table({"features": list(X[:2]), "labels": labels}), path
  )
  with pytest.raises(errors.UserError, match=message):
    data.load_splits("features", features=str(path))


def test_bfloat16_is_widened(tmp_path):
  path = tmp_path / "x.safetensors"
  exact = X.astype(np.float32).view(np.uint32) >> 16 << 16
  bits = (exact >> 16).astype(np.uint16)
  _write_safetensors(path, bits, "BF16")
  vectors = feature_files.read_vectors(str(path), "--features")
  np.testing.assert_array_equal(vectors.features.view(np.uint32), exact)
  _write_safetensors(path, bits.view(np.int16), "F8")
  with pytest.raises(errors.UserError, match="is of type F8; allowed: F64"):
    feature_files.read_vectors(str(path), "--features")


def test_files_that_cannot_be_read_are_one_error(tmp_path):
  (tmp_path / "a.npz").write_bytes(b"PK\x03\x04 no")
  (tmp_path / "a.safetensors").write_bytes(b"\xff" * 20)
  np.save(tmp_path / "a.npy", np.array([{}], object), allow_pickle=True)
  table = pa.table({"features": [[1.0], [1.0, 2.0]], "labels": ["a", "b"]})
  parquet.write_table(table, tmp_path / "a.parquet")
  for name in ("a.npz", "a.safetensors", "a.npy", "a.parquet", "none.npy", "a"):
    with pytest.raises(errors.UserError, match=name.split(".")[0]):
      data.load_splits("features", features=str(tmp_path / name))
  with pytest.raises(errors.UserError, match="config.data.features"):
    data.load_splits("features")


def test_vectors_of_another_width_are_refused(tmp_path):
  np.save(tmp_path / "x.npy", X)
  path = str(tmp_path / "x.npy")
  vectors = feature_files.read_vectors(path, "--features", F)
  assert list(vectors.ids) == [str(row) for row in range(N)]
  with pytest.raises(errors.UserError, match="6.; the run takes 7 numbers"):
    feature_files.read_vectors(path, "--features", 7)
  np.save(tmp_path / "one.npy", X[0])
  one = feature_files.read_vectors(str(tmp_path / "one.npy"), "--query", F)
  np.testing.assert_array_equal(one.features, X[:1])
