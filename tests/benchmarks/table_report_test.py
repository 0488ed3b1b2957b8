"""Tests of what a table writes, from codes on disk."""

import csv
import dataclasses
import json
import math

import numpy as np
import pytest

from benchmarks.tables import (
  cells,
  published,
  records,
  rows,
  runner,
  table_files,
  table_report,
  table_text,
)
from configs.tables import default
from dsh_jax import errors
from dsh_jax.retrieval import codes, evaluation, significance

_BITS = 16
_CLASSES = 5
_METRICS = ("map@1000", "ndcg@10", "precision@r<=2")
_NOISE = {"hyp2": 0.1, "dhn": 0.4}  # Of bits that say nothing of the labels.


def _write_run(table, workdir, cell, noise, **result):
  """Leave what a run leaves, with codes that are labels and noise."""
  folder = workdir / cell.folder
  folder.mkdir(parents=True)
  labels_rng = np.random.default_rng(0)
  # What differs between cells: a draw of its own for each.
  rng = np.random.default_rng([cell.seed, int(1000 * noise)])
  projection = labels_rng.normal(size=(_CLASSES, _BITS))
  arrays = {
    "num_bits": np.asarray(_BITS),
    "class_names": np.asarray(list("abcde")),
  }
  for name, count in (("query", 40), ("database", 300)):
    labels = (labels_rng.random((count, _CLASSES)) < 0.4).astype(np.uint8)
    labels[np.arange(count), np.arange(count) % _CLASSES] = 1
    logits = (labels - 0.5) @ projection
    random = rng.normal(size=logits.shape)
    logits = np.where(rng.random(logits.shape) < noise, random, logits)
    arrays[f"{name}_codes"] = codes.pack(logits)
    arrays[f"{name}_labels"] = labels
    arrays[f"{name}_ids"] = np.asarray([f"{name}{i}" for i in range(count)])
  np.savez(folder / "codes.npz", **arrays)
  report = evaluation.evaluate_codes(
    arrays["query_codes"],
    arrays["database_codes"],
    arrays["query_labels"],
    arrays["database_labels"],
    _BITS,
    names=_METRICS[:1],
  )
  content = {
    "method": cell.method,
    "bits": cell.bits,
    "seed": cell.seed,
    "backbone": "alexnet",
    "dataset": "mirflickr25k",
    "protocol": "hyp2",
    "select": "validation",
    "split_sha256": {"query": "abc123"},
    "train_in_database": False,
    "validation": {"validation/ndcg@10": 1 - noise},
    "seconds": {"training": 10.0 + noise},
    "versions": {"jax": "1.2.3"},
    "device": "1 x cpu",
    **report,
    **result,
  }
  (folder / "result.json").write_text(json.dumps(content))
  runner.write_json(
    folder / "cell.json",
    {
      "settings": table.settings(cell),
      "hardware": "A processor, 2 cores",
      "cores": 1,
      "seconds": 12.0,
    },
  )
  return folder


def _table(**fields):
  config = default.get_config()
  config.title = "A table"
  config.config = "configs/mirflickr25k.py"
  config.metrics = _METRICS
  config.cells = (
    dict(methods=("dhn", "hyp2"), bits=(_BITS,), seeds=(0, 1, 2)),
  )
  config.update(fields)
  return cells.make_table(config)


@pytest.fixture(scope="module")
def done(tmp_path_factory):
  """A table of two methods and three seeds, all done."""
  workdir = tmp_path_factory.mktemp("table")
  table = _table()
  for cell in table.wanted:
    _write_run(table, workdir, cell, _NOISE[cell.method])
  return table, workdir


def test_scores_are_those_of_the_run(done):
  table, workdir = done
  folder = workdir / table.wanted[0].folder
  record = records.read(folder, _METRICS)
  result = json.loads((folder / "result.json").read_text())
  for ties, value in result["metrics"]["map@1000"].items():
    assert record.scores["map@1000"][ties] == pytest.approx(value, rel=1e-12)
  assert record.per_query["ndcg@10"].shape == (40,)
  mean = record.per_query["ndcg@10"].mean()
  assert mean == pytest.approx(record.scores["ndcg@10"]["expected"])


def test_rows(done):
  table, workdir = done
  contents = rows.collect(table, workdir)
  assert [row.method for row in contents.rows] == ["hyp2", "dhn"]
  best, other = (row.scores["map@1000"] for row in contents.rows)
  assert best.mark == rows.BEST
  assert other.mark == ""
  values = [
    records.read(workdir / cell.folder, _METRICS).scores["map@1000"]["expected"]
    for cell in table.wanted
    if cell.method == "hyp2"
  ]
  assert best.mean == pytest.approx(np.mean(values))
  assert best.half_width == pytest.approx(
    4.302653 * np.std(values, ddof=1) / math.sqrt(3)
  )
  assert best.pessimistic <= best.mean <= best.optimistic
  assert 0 < best.chance < best.mean
  assert contents.num_done == contents.num_runs == 6


def test_equal_codes_are_marked_as_equal(tmp_path):
  table = _table()
  for cell in table.wanted:
    _write_run(table, tmp_path, cell, 0.2)
  marks = {r.scores["ndcg@10"].mark for r in rows.collect(table, tmp_path).rows}
  assert marks == {rows.BEST, rows.EQUAL}


def test_other_queries_are_not_compared(tmp_path):
  table = _table()
  for cell in table.wanted:
    folder = _write_run(table, tmp_path, cell, _NOISE[cell.method])
  with np.load(folder / "codes.npz") as file:
    arrays = dict(file)
  arrays["query_ids"] = arrays["query_ids"][::-1]
  np.savez(folder / "codes.npz", **arrays)
  contents = rows.collect(table, tmp_path)
  assert not contents.is_paired
  assert {r.scores["ndcg@10"].mark for r in contents.rows} == {""}
  assert "Methods are not compared" in table_text.markdown(table, contents)


def test_grid_chooses_on_validation(tmp_path):
  table = _table(
    grid=dict(learning_rates=(0.1, 0.2), bits=_BITS, seed=0, metric="ndcg@10")
  )
  first = [run for run in table.grid if run.method == "hyp2"]
  _write_run(table, tmp_path, first[0], 0.3)
  text = table_report.write(table, tmp_path).read_text()
  assert "| hyp2   | ~0.1" in text
  assert "The learning rate may still change" in text
  _write_run(table, tmp_path, first[1], 0.1)
  contents = rows.collect(table, tmp_path)
  row = contents.rows[0]
  assert (row.method, row.learning_rate, row.seeds) == ("hyp2", 0.2, (0,))
  assert not row.is_preliminary
  text = table_text.markdown(table, contents)
  assert "| hyp2   | 0.7000 | **0.9000** |" in text
  # Two runs of each method's grid; the seeds 1 and 2 of both.
  assert (contents.num_done, contents.num_runs) == (2, 9)


def test_a_grid_never_chooses_what_is_not_finite(tmp_path):
  table = _table(
    grid=dict(learning_rates=(0.1, 0.2), bits=_BITS, seed=0, metric="ndcg@10")
  )
  runs = [run for run in table.grid if run.method == "dhn"]
  _write_run(table, tmp_path, runs[0], 0.3)
  _write_run(
    table, tmp_path, runs[1], 0.1, validation={"validation/ndcg@10": math.nan}
  )
  contents = rows.collect(table, tmp_path)
  assert contents.choices["dhn"].rate == 0.1
  assert "not finite" in table_text.markdown(table, contents)


def test_failures_and_selection_are_told(tmp_path):
  table = _table()
  bad, good, *_ = table.wanted
  (tmp_path / bad.folder).mkdir(parents=True)
  runner.write_json(
    tmp_path / bad.folder / "failed.json", {"error": "a | reason"}
  )
  _write_run(table, tmp_path, good, 0.1, select="test_best")
  text = table_report.write(table, tmp_path).read_text()
  assert "1 of 6 runs are done, 1 have failed; the table is not comp" in text
  assert "a \\| reason" in text
  assert "hyp2 †" in text
  assert "chosen on the test queries" in text
  assert "no run done" in text


def test_all_that_a_reader_needs_is_printed(done):
  table, workdir = done
  text = table_report.write(table, workdir).read_text()
  for needed in (
    "`abc123`",
    "hyp2",
    "validation",
    "jax 1.2.3",
    "A processor, 2 cores",
    "1 x cpu",
    "40, 300, 0",
    "12 to 12",
    "worst and in their best order",
  ):
    assert needed in text, needed
  assert (workdir / "table.png").read_bytes().startswith(b"\x89PNG")


def test_published_numbers_stand_beside(tmp_path):
  table = _table(
    cells=(dict(methods=("dhn",), bits=(12,), seeds=(0,)),),
    published=dict(
      dataset="mirflickr25k-38", protocol="hyp2", backbone="alexnet"
    ),
  )
  _write_run(table, tmp_path, table.wanted[0], 0.1)
  contents = rows.collect(table, tmp_path)
  score = contents.rows[0].scores["map@1000"]
  assert score.printed.value == 0.817
  assert "HyP2 Loss" in score.printed.source
  assert contents.rows[0].scores["ndcg@10"].printed is None
  names = {(r.method, r.bits) for r in contents.elsewhere}
  assert ("dhn", 12) not in names
  assert {("dhn", 24), ("dqn", 12)} <= names
  other = dataclasses.replace(
    table, published=("mirflickr25k-38", "hyp2", "resnet50")
  )
  contents = rows.collect(other, tmp_path)
  assert contents.rows[0].scores["map@1000"].printed is None
  assert len(contents.elsewhere) == 40


def test_csv_and_tex(done):
  table, workdir = done
  table_report.write(table, workdir)
  with open(workdir / "table.csv", newline="") as file:
    lines = list(csv.DictReader(file))
  assert len(lines) == 2 * len(_METRICS)
  first = lines[0]
  assert (first["method"], first["metric"]) == ("hyp2", "map@1000")
  assert first["mark"] == "best"
  assert first["seeds"] == "0 1 2"
  contents = rows.collect(table, workdir)
  score = contents.rows[0].scores["map@1000"]
  assert float(first["mean"]) == pytest.approx(score.mean, rel=1e-5)
  tex = table_files.to_tex(table, contents)
  assert rf"\textbf{{{score.mean:.3f}}}" in tex
  assert r"precision@r$\leq$2" in tex
  assert tex.count(r"\begin{tabular}{lccc}") == 1


def test_claims_are_the_numbers_of_the_test(tmp_path):
  names = f"hyp2/{_BITS}", f"dhn/{_BITS}"
  table = _table(
    claims=(names, names[::-1], (names[0], names[0]), (names[0], "csq"))
    + (("hyp2", "dhn"),),
    claims_by_labels=(names,),
  )
  for cell in table.wanted:
    _write_run(table, tmp_path, cell, _NOISE[cell.method])
  table_report.write(table, tmp_path)
  lines = (tmp_path / "claims.md").read_text().splitlines()
  said = [line for line in lines if line.startswith("- ")]
  contents = rows.collect(table, tmp_path)
  scores = {
    method: np.stack([r.per_query[_METRICS[0]] for r in found])
    for (method, *_), found in contents.records.items()
  }
  found = significance.compare(scores["hyp2"], scores["dhn"])
  assert said[0].startswith(f"- hyp2 at {_BITS} bits is above dhn")
  assert f"{found.mean:+.3f} ± {found.half_width:.3f}, p = " in said[0]
  assert "3 and 3 seeds, 40 queries" in said[0]
  assert "is below hyp2" in said[1]
  assert "cannot be told apart" in said[2]
  assert "not run yet" in said[3]
  # Without bits, those of the table.
  assert said[4].startswith("- hyp2 is above dhn (")
  # A list for the queries of each number of labels, which add up to all.
  num_labels = contents.records["hyp2", _BITS, ""][0].num_labels
  for line, count in zip(said[5:], np.unique(num_labels), strict=True):
    assert line.startswith(f"- {count} label")
    assert f", {np.sum(num_labels == count)} queries" in line
  assert (tmp_path / "difference.png").read_bytes().startswith(b"\x89PNG")


def test_an_empty_table_is_written(tmp_path):
  text = table_report.write(_table(), tmp_path / "new").read_text()
  assert "0 of 6 runs are done" in text
  assert not (tmp_path / "new" / "table.png").exists()


def test_published_file_is_checked(tmp_path):
  path = tmp_path / "p.csv"
  path.write_text("dataset,method\n")
  with pytest.raises(errors.UserError, match="it must have dataset, protocol"):
    published.read("a", "b", path)
  head = "dataset,protocol,method,backbone,bits,metric,value,source,how\n"
  path.write_text(head + "a,b,dhn,alexnet,12,map@5,much,x,y\n")
  with pytest.raises(errors.UserError, match="line 2: bits must be"):
    published.read("a", "b", path)
  path.write_text(head + "a,b,dhn,alexnet,12,map@5,0.5,x,y\n")
  assert published.read("a", "b", path)[0].value == 0.5


def test_codes_that_cannot_be_read_name_the_folder(done, tmp_path):
  table, _ = done
  folder = _write_run(table, tmp_path, table.wanted[0], 0.1)
  (folder / "codes.npz").write_bytes(b"PK\x03\x04 cut")
  with pytest.raises(errors.UserError, match=r"codes\.npz cannot be read"):
    records.read(folder, _METRICS)
  text = table_report.write(table, tmp_path).read_text()
  assert "codes.npz cannot be read" in text
