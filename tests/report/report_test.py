"""The report of runs on disk."""

import csv
import html.parser
import json
import math
import re
import shutil

import commands
import numpy as np
import pytest

from dsh_jax import errors, report
from dsh_jax.apps import compare, list_runs
from dsh_jax.report import (
  breakdown,
  code_figures,
  comparison,
  curves,
  figures,
  gallery,
  latex,
  run_files,
)
from dsh_jax.retrieval import codes
from dsh_jax.runs import workdir

NASTY = "<script>alert(1)</script>&\"'$_^{"


@pytest.fixture(scope="module")
def folder(command):
  """The folder of a finished run."""
  with pytest.MonkeyPatch.context() as patch:
    patch.setenv("XDG_CACHE_HOME", command.environment["XDG_CACHE_HOME"])
    yield command.finished[0]


def copy(folder, target, config=(), **changed):
  """Copy a run without its checkpoints, with changed fields in its files."""
  target.mkdir()
  for name in ("config.json", "result.json", "metrics.jsonl", "codes.npz"):
    shutil.copy(folder / name, target)
  read, write = workdir.Workdir(folder), workdir.Workdir(target)
  for name, fields in (("result.json", changed), ("config.json", config)):
    content = read.read_json(name) | dict(fields)
    content.pop("files", None)  # Digests of files that tests change.
    write.write_json(name, content)
  return target


def copy_better(folder, target, seed):
  """Copy a run with its labels as the first bits of its codes."""
  copy(folder, target, {"seed": seed}, seed=seed)
  with np.load(target / "codes.npz") as saved:
    arrays = dict(saved)
  for name in ("query", "database"):
    bits = codes.unpack(arrays[f"{name}_codes"], int(arrays["num_bits"]))
    labels = arrays[f"{name}_labels"]
    bits[:, : labels.shape[1]] = labels
    arrays[f"{name}_codes"] = codes.pack(bits)
  np.savez(target / "codes.npz", **arrays)


def copy_other(folder, target, seed):
  """Copy a run under another loss."""
  config = {"method": "dpsh", "loss.name": "dpsh", "seed": seed}
  copy(folder, target, config, method="dpsh", seed=seed)


class Page(html.parser.HTMLParser):
  """Elements and text of a page."""

  def __init__(self, text):
    super().__init__()
    self.elements, self.words = [], []
    self.feed(text)

  def handle_starttag(self, tag, attributes):
    self.elements.append((tag, dict(attributes)))

  def handle_data(self, data):
    self.words.append(data)


def check_alone(text):
  """Return the parsed page; it must load nothing and have no scripts."""
  page = Page(text)
  for tag, attributes in page.elements:
    assert tag not in {"script", "iframe", "object", "link"} or (
      attributes.get("href") == "data:,"
    )
    is_local = attributes.get("href", "#")[:1] == "#"
    assert tag != "a" or is_local or "download" in attributes
    for name in ("src", "href", "xlink:href"):
      value = attributes.get(name, "data:")
      assert value.startswith(("data:", "#")), value
    assert not any(name.startswith("on") for name in attributes)
  assert not re.search(r"url\((?!#)", text)
  return page


def test_training_writes_the_report_and_prints_the_next_commands(command):
  workdir, *_ = command.finished
  code, out, err = command.run(
    *commands.SMALL, "--report", f"--workdir={workdir}"
  )
  assert (code, err) == (0, "")
  assert f"The report is {workdir / 'report.html'}." in out
  for name in ("serve", "encode", "export"):
    assert f"python -m dsh_jax {name} --" in out
  page = check_alone((workdir / "report.html").read_text())
  ids = [a["id"] for _, a in page.elements if "id" in a]
  assert len(ids) == len(set(ids))
  result = json.loads((workdir / "result.json").read_text())
  text = " ".join(page.words)
  for name, score in result["metrics"].items():
    assert name in text and f"{score['expected']:.4f}" in text
  assert "64 training items, 40 validation queries, 40 test queries" in text
  real = result["real_valued"]
  assert f"{real['outputs']['map@all']:.4f}" in text
  for name, score in real["codes"].items():  # They are few: all are scored.
    assert score == pytest.approx(result["metrics"][name]["expected"])
  pictures = [a for tag, a in page.elements if tag == "img"]
  assert len(pictures) == 3 * 3 * 11
  assert all(a["alt"] for a in pictures)
  drawn = sorted(p.name for p in (workdir / "report_figures").iterdir())
  assert {"ndcg.png", "finished_gallery.png", "finished_map.png"} < set(drawn)


@pytest.fixture(scope="module")
def four(folder, tmp_path_factory):
  """A folder of two seeds of two settings, and of an unfinished run."""
  runs = tmp_path_factory.mktemp("runs")
  for seed in range(2):
    copy_better(folder, runs / f"a{seed}", seed)
    copy_other(folder, runs / f"b{seed}", seed)
  (runs / "stopped").mkdir()
  shutil.copy(folder / "config.json", runs / "stopped")
  return runs


def test_a_pattern_of_runs_is_compared(four, tmp_path, capsys):
  out = tmp_path / "out.html"
  # As a shell expands --workdir four/*.
  folders = [str(path) for path in sorted(four.iterdir())]
  compare.main(["--workdir", *folders, f"--out={out}"])
  printed = capsys.readouterr()
  assert printed.out == f"The report is {out}.\n"
  assert printed.err == (
    f"dsh_jax: Left out (not finished): {four / 'stopped'}.\n"
  )
  text = out.read_text()
  page = check_alone(text)
  words = " ".join(page.words)
  assert "4 runs side by side" in words
  assert "dpsh, 16 bits, 2 seeds" in words
  # Only fields that differ are on top.
  head = text[: text.index('id="scores"')]
  assert "config.loss.name" in head and "config.train.batch_size" not in head
  # Losses of different methods have axes of their own.
  assert len(re.findall(r'id="loss-axes_\d+"', text)) == 2
  targets = {a["href"][1:] for tag, a in page.elements if tag == "a"}
  ids = {a["id"] for _, a in page.elements if "id" in a}
  assert {t for t in targets if not t.startswith("ata:")} < ids
  # The same queries for both settings, each with ten items, in three groups.
  queries = [
    a["alt"]
    for place, (tag, a) in enumerate(page.elements)
    if tag == "img" and page.elements[place - 3][1]["class"] == "tile query"
  ]
  assert len(queries) == 6 and queries[::2] == queries[1::2]
  with open(tmp_path / "out.csv", newline="") as file:
    lines = list(csv.DictReader(file))
  scores = json.loads((four / "a0" / "result.json").read_text())["metrics"]
  runs = [line for line in lines if line["run"]]
  assert len(runs) == 4 * len(scores)
  assert float(lines[0]["expected"]) == pytest.approx(
    scores[lines[0]["metric"]]["expected"], abs=1e-6
  )
  # A row of a baseline, and none for each run.
  tex = (tmp_path / "out.tex").read_text()
  untrained = json.loads((four / "a0" / "result.json").read_text())["baselines"]
  for name, by_metric in untrained.items():
    assert "16 bits" in name and words.count(name) == 1
    assert f"{by_metric['map@all']:.4f}" in words
    assert f"\n{name} & " in tex and f"& {by_metric['map@all']:.3f}" in tex
    (row,) = (
      line
      for line in lines
      if line["setting"] == name and line["metric"] == "map@all"
    )
    assert float(row["expected"]) == pytest.approx(by_metric["map@all"], 1e-4)


def test_a_pattern_without_a_finished_run_is_a_one_line_error(four, tmp_path):
  with pytest.raises(errors.UserError, match="does not hold a finished run"):
    compare.main([f"--workdir={four}/sto*"])
  with pytest.raises(errors.UserError, match="names no finished run"):
    compare.main([f"--workdir={four}/sto*", f"--workdir={tmp_path}"])
  with pytest.raises(errors.UserError, match="no/run/here"):
    compare.main([f"--workdir={four}/a*", "--workdir=no/run/here"])


def test_runs_are_listed(command, four, capsys):
  code, out, err = command.run("runs", f"--workdir={four}/*", module="dsh_jax")
  assert (code, err) == (0, "")
  head, *lines = [line.split() for line in out.splitlines()]
  assert head[:4] == ["run", "method", "bits", "seed"]
  cells = {line[0].rpartition("/")[2]: line[1:] for line in lines}
  scores = json.loads((four / "a0" / "result.json").read_text())["metrics"]
  expected = f"{scores['ndcg@100']['expected']:.4f}"
  assert cells["a0"] == [
    *("idhn", "16", "0", "digits", "4", "of", "4", "ndcg@100", expected)
  ]
  assert cells["stopped"][4:] == ["0", "of", "4", "not", "finished"]
  list_runs.main(["--metric=map@all", str(four / "a0"), str(four / "b0")])
  best, worse = capsys.readouterr().out.splitlines()[1:]
  assert best.startswith(str(four / "a0"))
  assert best.endswith(f"map@all  {scores['map@all']['expected']:.4f}")
  with pytest.raises(errors.UserError, match="There is no run in"):
    list_runs.main([f"--workdir={four}/a0/*"])


def test_seeds_and_queries_decide_what_is_best(four):
  runs = run_files.read_all(
    [str(four / name) for name in "a0 a1 b0 b1".split()]
  )
  (block,) = comparison.group(runs)
  assert [len(setting.runs) for setting in block.settings] == [2, 2]
  (first, cells), (second, others) = block.table
  assert first.runs == tuple(runs[:2])
  assert cells["ndcg@100"].mark == "best" and others["ndcg@100"].mark == ""
  assert cells["ndcg@100"].over_seeds == 0  # The seeds are copies.
  best, (below,) = comparison.below_best(block)
  assert (best, below.name) == (first.name, second.name)
  assert 0 < below.low < below.mean < below.high and below.p_value < 0.05
  # Single seeds are compared over queries.
  (block,) = comparison.group([runs[0], runs[2]])
  assert [setting.name for setting in block.settings] == ["a0", "b0"]
  _, (below,) = comparison.below_best(block)
  assert below.low > 0 and math.isnan(below.p_value)
  # A copy of the best equals it.
  twin = copy(four / "a0", four.parent / "twin", {"bits": 17})
  (block,) = comparison.group(run_files.read_all([str(four / "a0"), str(twin)]))
  assert [cells["map@all"].mark for _, cells in block.table] == [
    "best",
    "equal",
  ]


def test_runs_of_other_queries_are_set_apart(four, folder, tmp_path):
  digests = json.loads((folder / "result.json").read_text())["split_sha256"]
  copy(folder, tmp_path / "x", split_sha256=digests | {"query": "0"})
  copy(folder, tmp_path / "y", split_sha256=digests | {"train": "0"})
  few = "The mean is over 6 test queries: chance decides."
  copy(folder, tmp_path / "z", select="test_best", data_warnings=[few])
  names = [four / "a0", *(tmp_path / name for name in "xyz")]
  blocks = comparison.group(run_files.read_all(list(map(str, names))))
  assert [len(block.runs) for block in blocks] == [3, 1]
  queries, train, of_data, chosen = comparison.warnings(blocks)
  assert of_data == f"{blocks[0].name}: {few}"
  assert "not all scored on the same queries" in queries and "x" in queries
  assert "trained on different images" in train
  assert chosen.startswith("z chose its epoch on the test queries")


def test_latex_is_escaped():
  text = latex.tabular(
    "a_b", ["run", "r<=2"], [["x", latex.score(0.5, 1, "best")]]
  )
  assert r"% a\_b" in text and r"r$\leq$2" in text
  assert r"x & \textbf{0.500} {\scriptsize $\pm$1.000} \\" in text
  assert latex.score(math.nan, 1, "") == ""


def test_names_are_escaped_and_missing_images_have_a_reason(folder, tmp_path):
  evil = copy(
    folder,
    tmp_path / "evil",
    method=NASTY,
    protocol=NASTY,
    split_sha256={"query": "0"},
  )
  blind = copy(folder, tmp_path / "blind", data_warnings=["Few queries."])
  for run, name, value in (
    (evil, "class_names", np.array([NASTY] * 10)),
    (blind, "query_labels", np.zeros((40, 10), np.uint8)),
  ):
    with np.load(run / "codes.npz") as saved:
      arrays = dict(saved) | {name: value}
    np.savez(run / "codes.npz", **arrays)
  text = report.write([str(evil), str(blind)]).read_text()
  page = check_alone(text)
  assert "<script" not in text
  assert any(NASTY in words for words in page.words)
  assert "No images: The query split of digits is not that" in text
  assert "No images: None of the 40 sampled queries shares a label" in text
  assert "The query is on the left" not in text
  assert "Few queries.</p>" in text


def test_runs_of_equal_name_get_unique_names(folder, tmp_path):
  (tmp_path / "a").mkdir()
  twin = copy(folder, tmp_path / "a" / folder.name)
  first, second = run_files.read_all([str(folder), str(twin)])
  assert first.name != second.name


def test_an_unfinished_run_is_a_one_line_error(command, tmp_path):
  process = command.start("report", f"--workdir={tmp_path}", module="dsh_jax")
  out, err = process.communicate(timeout=100)
  assert (process.returncode, out) == (2, "")
  assert err.startswith("dsh_jax: --workdir=") and len(err.splitlines()) == 1
  (tmp_path / "config.json").write_text("{")
  with pytest.raises(errors.UserError, match=r"config\.json is damaged"):
    run_files.read(str(tmp_path))


def tiny_run(bits, query_labels, database_labels, database_bits=None):
  """Return a run with codes and labels only."""
  if database_bits is None:
    database_bits = bits
  return run_files.RunFiles(
    name="_run",
    folder=None,
    config={"eval.normalizer": "retrieved", "loss.name": "dhn"},
    result={"metrics": {"map@all": {}}},
    log=(),
    query_codes=codes.pack(bits),
    query_labels=query_labels,
    query_ids=np.arange(len(bits)).astype(str),
    database_codes=codes.pack(database_bits),
    database_labels=database_labels,
    database_ids=np.arange(len(database_bits)).astype(str),
    num_bits=bits.shape[1],
    class_names=("a", "b"),
  )


def test_curves_equal_hand_computed_numbers():
  bits = np.array([[1, 1, 0], [0, 1, 0]])
  labels = np.array([[1, 1], [0, 1]], np.uint8)
  run = tiny_run(bits, labels, labels)
  shares = curves.distances_by_overlap(run)
  # Three pairs share one label: one at distance 0, two at distance 1.
  np.testing.assert_allclose(
    shares, [[0, 0, 0, 0], [1 / 3, 2 / 3, 0, 0], [1, 0, 0, 0]]
  )
  balance, correlation = curves.bits(run)
  np.testing.assert_allclose(balance, [0.5, 1, 0])
  np.testing.assert_allclose(correlation, np.diag([1.0, 0, 0]))
  precision, recall = curves.precision_recall(run)
  np.testing.assert_allclose(precision, [1, 1, 1, 1])
  np.testing.assert_allclose(recall, [0.5, 1, 1, 1])
  ks, scores = curves.by_cut_off(run, "acg")
  assert ks == [1, 2]
  np.testing.assert_allclose(scores["expected"], [1.5, 1.25])


def test_a_pair_in_a_thousand_is_not_drawn_as_a_peak():
  bits = np.zeros((40, 3))
  labels = np.tile(np.array([[1, 0]], np.uint8), (40, 1))
  labels[0] = 1
  shares = curves.distances_by_overlap(tiny_run(bits, labels, labels))
  np.testing.assert_array_equal(
    shares, [[0, 0, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]]
  )


def test_labels_and_codes_equal_hand_computed_numbers():
  database = np.array([[1, 1, 0], [1, 1, 0], [0, 1, 0], [0, 1, 1]])
  items = np.array([[1, 1], [0, 1], [0, 0], [1, 0]], np.uint8)
  run = tiny_run(database[1:3], items[[1, 3]], items, database)
  setting = comparison.Setting("x", 0, (run,))
  block = comparison.Block((setting,))
  # Query "b" finds both of its items first; query "a" has two of the three
  # tied items of ranks 2 to 4.
  scores = [1, (1 / 2 + 2 / 3 + 1 / 2 + 2 / 4 + 1 / 3 + 2 / 4) / 6]
  low, high = breakdown.by_label(block, "map@all")
  assert (low.name, low.num_queries, low.num_items) == ("a", 1, 2)
  assert (high.name, high.num_queries, high.num_items) == ("b", 1, 2)
  np.testing.assert_allclose([high.scores[0], low.scores[0]], scores)
  (row,) = breakdown.by_number_of_labels(block, "map@all")
  assert (row.name, row.num_queries, row.num_items) == ("1", 2, 2)
  assert row.scores[0] == pytest.approx(np.mean(scores))
  facts = breakdown.describe_codes(run)
  entropy = -(0.25 * math.log2(0.25) + 0.75 * math.log2(0.75))
  assert facts["entropy"] == pytest.approx((1 + 0 + entropy) / 3)
  assert (facts["distinct"], facts["most_common"]) == (3, 2)
  assert facts["dead_bits"] == [1]
  assert facts["nearest"] == (1.5, 2)
  assert facts["effective_rank"] is None and facts["real_valued"] is None


def test_degenerate_codes_are_drawn():
  bits = np.zeros((1, 1))
  labels = np.zeros((1, 2), np.uint8)
  run = tiny_run(bits, labels, labels)
  assert all(
    figure.png[:4] == b"\x89PNG" for figure in code_figures.of_run(run)
  )
  settings = [comparison.Setting("x", 0, (run,))]
  assert all("<svg" in figure.svg for figure in figures.shared(settings))
  assert gallery.create([run], None) == {}
