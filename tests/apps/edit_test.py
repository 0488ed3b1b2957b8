"""Items are added to an index and removed from it."""

import numpy as np
import pytest

from dsh_jax import errors
from dsh_jax.apps import edit, evaluate
from dsh_jax.apps import index as index_lib


def _write(path, root, names, first, **more):
  codes = np.arange(first, first + len(names), dtype=np.uint32)[:, None]
  arrays = {
    "num_bits": np.asarray(16),
    "database_codes": codes,
    "database_ids": np.array(names),
    "root": np.asarray(str(root)),
    "workdir": np.asarray("run"),
  }
  np.savez(path, **(arrays | more))
  return f"={path}"


def test_items_are_added_and_replace_those_of_the_same_path(tmp_path, capsys):
  ones = np.ones((3, 2), np.uint8)
  index = _write(
    tmp_path / "a.npz", "/p/x", ["1.png", "2.png", "3.png"], 0,
    database_labels=ones, database_outputs=np.full((3, 16), 0.5, np.float16),
  )  # fmt: skip
  more = _write(
    tmp_path / "b.npz", "/p", ["x/2.png", "y/4.png"], 70,
    database_labels=0 * ones[:2],
    database_outputs=np.full((2, 16), 2, np.float16),
  )  # fmt: skip
  edit.main([f"--index{index}", f"--add{more}", f"--out={tmp_path}/c.npz"])
  assert "c.npz has 4 items; 3 were there" in capsys.readouterr().out
  found = index_lib.load(str(tmp_path / "c.npz"))
  assert (found.root, found.workdir) == ("/p", "run")
  assert found.ids.tolist() == ["x/1.png", "x/3.png", "x/2.png", "y/4.png"]
  assert found.codes[:, 0].tolist() == [0, 2, 70, 71]
  assert found.outputs[:, 9].tolist() == [0.5, 0.5, 2, 2]
  labels = evaluate.load_items(str(tmp_path / "c.npz"), None, "database").labels
  assert labels.tolist() == [[1, 1], [1, 1], [0, 0], [0, 0]]
  assert len(index_lib.load(str(tmp_path / "a.npz"))) == 3


def test_items_are_removed_by_name_and_by_pattern(tmp_path, capsys):
  index = _write(
    tmp_path / "a.npz", "/p", ["1.png", "x/[2].png", "x/3.png"], 0,
    database_outputs=np.arange(48.0).reshape(3, 16),
  )  # fmt: skip
  edit.main([f"--index{index}", "--remove=x/[2].png"])
  found = index_lib.load(index[1:])
  assert found.codes[:, 0].tolist() == [0, 2]
  assert found.outputs[:, 0].tolist() == [0, 32]
  more = _write(tmp_path / "b.npz", "/p", ["4.png"], 0)
  edit.main([f"--index{index}", f"--add{more}", f"--out={tmp_path}/c.npz"])
  assert "Left out the outputs" in capsys.readouterr().out
  assert index_lib.load(f"{tmp_path}/c.npz").outputs is None
  edit.main([f"--index{index}", "--remove=x/*"])
  assert index_lib.load(index[1:]).ids.tolist() == ["1.png"]


def test_labels_stay_where_the_added_index_has_none(tmp_path, capsys):
  labels = np.eye(3, dtype=np.uint8)
  index = _write(
    tmp_path / "a.npz", "/p", ["1.png", "2.png", "12.png"], 0,
    database_labels=labels,
  )  # fmt: skip
  more = _write(tmp_path / "b.npz", "/p", ["12.png", "2.png", "3.png"], 70)
  given = [f"--index{index}", f"--add{more}", "--remove=1*.png"]
  edit.main([*given, f"--out={tmp_path}/c.npz"])
  assert "Items without labels: 1, since" in capsys.readouterr().out
  found = evaluate.load_items(str(tmp_path / "c.npz"), None, "database")
  assert found.packed[:, 0].tolist() == [71, 72]
  assert found.labels.tolist() == [[0, 1, 0], [0, 0, 0]]
  edit.main([f"--index{more}", f"--add{index}"])
  assert "Items without labels: 1, since" in capsys.readouterr().out
  found = evaluate.load_items(more[1:], None, "database")
  assert found.labels.tolist() == [[0, 0, 0], *labels.tolist()]


@pytest.mark.parametrize(
  ("flags", "words"),
  [
    ([], "--add=INDEX, or --remove"),
    (["--remove=4.png"], r"4.png is not in the index \(first id: 1.png\)"),
    (["--remove=*"], "Nothing would be left"),
    (["--add=OTHER"], "differ in num_bits"),
    (["--add=RUN"], "not an index of image files"),
    (["--add=none.npz"], "Cannot read --add=none.npz: No such file"),
  ],
)
def test_wrong_input_leaves_the_index_as_it_is(tmp_path, flags, words):
  index = _write(tmp_path / "a.npz", "/p", ["1.png", "2.png"], 0)
  _write(tmp_path / "other.npz", "/p", ["3.png"], 0, num_bits=np.asarray(8))
  np.savez(tmp_path / "run.npz", query_codes=np.zeros(3))
  places = {"OTHER": tmp_path / "other.npz", "RUN": tmp_path / "run.npz"}
  for name, path in places.items():
    flags = [flag.replace(name, str(path)) for flag in flags]
  before = (tmp_path / "a.npz").read_bytes()
  with pytest.raises(errors.UserError, match=words):
    edit.main([f"--index{index}", *flags])
  assert (tmp_path / "a.npz").read_bytes() == before
