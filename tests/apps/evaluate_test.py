"""Tests of the command that scores the codes of other programs."""

import json
import subprocess
import sys

import numpy as np
import pytest

from dsh_jax import errors
from dsh_jax.apps import evaluate
from dsh_jax.retrieval import codes
from dsh_jax.retrieval import evaluation as retrieval_evaluate


@pytest.fixture
def files(tmp_path):
  """Write the same random items as -1/+1, as 0/1, and as codes.npz."""
  rng = np.random.default_rng(0)
  arrays = {}
  for kind, size in (("query", 6), ("database", 60)):
    bits = rng.random((size, 20)) < 0.5
    labels = (rng.random((size, 4)) < 0.4).astype(np.uint8)
    np.save(tmp_path / f"{kind}_signs.npy", np.where(bits, 1.0, -1.0))
    np.save(tmp_path / f"{kind}_bits.npy", bits.astype(np.uint8))
    np.save(tmp_path / f"{kind}_labels.npy", labels)
    arrays |= {f"{kind}_codes": codes.pack(bits), f"{kind}_labels": labels}
  np.savez(tmp_path / "codes.npz", num_bits=20, **arrays)
  return tmp_path


def _arrays(files, form):
  return {
    "query_codes": str(files / f"query_{form}.npy"),
    "database_codes": str(files / f"database_{form}.npy"),
    "query_labels": str(files / "query_labels.npy"),
    "database_labels": str(files / "database_labels.npy"),
  }


def test_all_forms_of_the_same_codes_score_the_same(files):
  expected = evaluate.evaluate_files(str(files / "codes.npz"))
  assert expected["settings"]["num_bits"] == 20
  for form in ("signs", "bits"):
    assert evaluate.evaluate_files(**_arrays(files, form)) == expected


def test_command_prints_the_table_and_writes_the_numbers(files):
  flags = [f"--{name}={path}" for name, path in _arrays(files, "signs").items()]
  done = subprocess.run(
    [
      *(sys.executable, "-m", "dsh_jax", "evaluate", *flags),
      "--metrics=map@10,precision@r<=5",
      f"--output={files / 'out.json'}",
    ],
    capture_output=True,
    text=True,
  )
  assert done.returncode == 0, done.stderr
  written = json.loads((files / "out.json").read_text())
  assert list(written["metrics"]) == ["map@10", "precision@r<=5"]
  assert "6 queries, 60 database items" in done.stdout
  value = written["metrics"]["map@10"]["expected"]
  assert f"map@10              {value:.4f}" in done.stdout
  assert "empty_balls@r<=5" in written["counts"]


def test_mistakes_are_one_line_errors(files):
  done = subprocess.run(
    [
      *(sys.executable, "-m", "dsh_jax", "evaluate"),
      f"--query_codes={files / 'codes.npz'}",
      "--convention=hashnett",
    ],
    capture_output=True,
    text=True,
  )
  assert done.returncode == 2
  assert done.stderr.count("\n") == 1
  assert "Did you mean 'hashnet'" in done.stderr


def test_bad_files_are_refused(files):
  good = _arrays(files, "signs")

  def call(**changes):
    evaluate.evaluate_files(**(good | changes))

  with pytest.raises(errors.UserError, match="Cannot read .*absent"):
    call(query_codes=str(files / "absent.npy"))
  with pytest.raises(errors.UserError, match="give --query_labels"):
    call(query_labels=None)
  with pytest.raises(errors.UserError, match="20 bits, database codes 4"):
    call(database_codes=good["database_labels"])
  with pytest.raises(errors.UserError, match="6 query codes but 60"):
    call(query_labels=good["database_labels"])
  with pytest.raises(errors.UserError, match=r"is a \.npz"):
    call(query_labels=str(files / "codes.npz"))
  np.save(files / "real.npy", np.full((6, 20), 0.3))
  with pytest.raises(errors.UserError, match="holds 0.3"):
    call(query_codes=str(files / "real.npy"))
  np.save(files / "nan.npy", np.full((6, 20), np.nan))
  with pytest.raises(errors.UserError, match=r"nan.npy: Codes hold NaN"):
    call(query_codes=str(files / "nan.npy"))
  np.savez(files / "other.npz", a=np.zeros(3))
  with pytest.raises(errors.UserError, match="lacks num_bits, query_codes"):
    call(query_codes=str(files / "other.npz"))
  (files / "text.npy").write_text("no array")
  with pytest.raises(errors.UserError, match="Cannot read"):
    call(query_codes=str(files / "text.npy"))
  np.save(files / "object.npy", np.array([{}], object), allow_pickle=True)
  with pytest.raises(errors.UserError, match="Cannot read"):
    call(query_codes=str(files / "object.npy"))
  with pytest.raises(errors.UserError, match="Unknown metric"):
    call(names=["map"])
  with pytest.raises(errors.UserError, match='k is 1 or more, or "all"'):
    call(names=["ndcg@0"])
  with pytest.raises(errors.UserError, match="Change --normalizer"):
    call(normalizer="foo")


def test_conventions_agree_with_numbers_worked_out_by_hand(tmp_path):
  """Database at distances 0, 1, 2, 3; no ties.

  Query 0 finds overlaps 2, 0, 1, 0; query 1 has relevant items only beyond
  what it retrieves; query 2 has no relevant item.
  """
  database = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [1, 1, 1]])
  labels = np.array([[1, 1, 0, 0], [0, 0, 0, 0], [1, 0, 0, 0], [0, 0, 1, 0]])
  arguments = (
    codes.pack(np.zeros((3, 3))),
    codes.pack(database),
    np.array([[1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]),
    labels,
    3,
  )
  first = (1 + 2 / 3) / 2

  def mean(name, **options):
    result = retrieval_evaluate.evaluate_codes(*arguments, [name], **options)
    scores = result["metrics"][name]
    for ties in ("optimistic", "pessimistic"):
      np.testing.assert_allclose(scores[ties], scores["expected"])
    return scores["expected"]

  np.testing.assert_allclose(mean("map@3"), first / 3)
  np.testing.assert_allclose(mean("map@3", drop_empty=True), first / 2)
  dropped = mean("map@3", drop_empty=True, drop_unretrieved=True)
  np.testing.assert_allclose(dropped, first)
  np.testing.assert_allclose(mean("wmap@3"), (2 + 3 / 3) / 2 / 3)
  np.testing.assert_allclose(mean("acg@3"), (3 / 3) / 3)
  # With everything retrieved, query 1 finds its item at rank 4.
  np.testing.assert_allclose(mean("map@all"), (first + 1 / 4) / 3)
  # The named conventions are these settings; their cut-offs hold all 4 items.
  for convention, expected in [
    ("deephash-pytorch", (first + 1 / 4) / 3),
    ("hashnet", (first + 1 / 4) / 2),
  ]:
    np.savez(
      tmp_path / "codes.npz",
      query_codes=arguments[0],
      database_codes=arguments[1],
      query_labels=arguments[2],
      database_labels=arguments[3],
      num_bits=3,
    )
    result = evaluate.evaluate_files(
      str(tmp_path / "codes.npz"), convention=convention
    )
    np.testing.assert_allclose(
      result["metrics"]["map@5000"]["expected"], expected
    )
  result = evaluate.evaluate_files(
    str(tmp_path / "codes.npz"), convention="dsrh"
  )
  np.testing.assert_allclose(
    result["metrics"]["wmap@5000"]["expected"], ((2 + 1) / 2 + 1 / 4) / 3
  )
  assert list(result["metrics"]) == ["ndcg@100", "acg@100", "wmap@5000"]
