"""The report of runs on disk, a self-contained page."""

import html.parser
import json
import re
import shutil

import commands
import numpy as np
import pytest

from dsh_jax import errors, report
from dsh_jax.report import curves, figures, gallery, run_files
from dsh_jax.retrieval import codes

NASTY = "<script>alert(1)</script>&\"'$_^{"


@pytest.fixture(scope="module")
def folder(command):
  """The folder of a finished run, whose data set is available."""
  with pytest.MonkeyPatch.context() as patch:
    patch.setenv("XDG_CACHE_HOME", command.environment["XDG_CACHE_HOME"])
    yield command.finished[0]


def copy(folder, target, **changed):
  """Copy a run without its checkpoints, with changed fields in its result."""
  target.mkdir()
  for name in ("config.json", "result.json", "metrics.jsonl", "codes.npz"):
    shutil.copy(folder / name, target)
  result = json.loads((folder / "result.json").read_text()) | changed
  (target / "result.json").write_text(json.dumps(result))
  return target


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
  """Check that the page loads nothing else and has no scripts."""
  page = Page(text)
  for tag, attributes in page.elements:
    assert tag not in {"script", "iframe", "object", "link"} or (
      attributes.get("href") == "data:,"
    )
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
  ids = [
    attributes["id"] for _, attributes in page.elements if "id" in attributes
  ]
  assert len(ids) == len(set(ids))
  result = json.loads((workdir / "result.json").read_text())
  text = " ".join(page.words)
  for name, score in result["metrics"].items():
    assert name in text and f"{score['expected']:.4f}" in text
  pictures = [a for tag, a in page.elements if tag == "img"]
  assert len(pictures) == 3 * 3 * 11
  assert all(a["alt"] for a in pictures)
  drawn = sorted(p.name for p in (workdir / "report_figures").iterdir())
  assert {"ndcg.png", "finished_gallery.png", "finished_map.png"} < set(drawn)


def test_several_runs_are_compared(folder, tmp_path):
  second = copy(folder, tmp_path / "second", method="other")
  path = report.write([str(folder), str(second)], str(tmp_path / "out.html"))
  text = path.read_text()
  check_alone(text)
  assert "2 runs side by side" in text and "other, 16 bits" in text


def test_names_are_escaped(folder, tmp_path):
  evil = copy(folder, tmp_path / "run", method=NASTY, protocol=NASTY)
  with np.load(evil / "codes.npz") as saved:
    arrays = dict(saved) | {"class_names": np.array([NASTY] * 10)}
  np.savez(evil / "codes.npz", **arrays)
  text = report.write([str(evil)]).read_text()
  page = check_alone(text)
  assert "<script" not in text
  assert any(NASTY in words for words in page.words)


def test_the_report_is_written_without_images(folder, tmp_path):
  other = copy(folder, tmp_path / "run", split_sha256={"query": "0"})
  text = report.write([str(other)]).read_text()
  assert "No images: The query split of digits is not the one" in text


def test_the_report_says_that_no_query_has_a_relevant_item(folder, tmp_path):
  other = copy(folder, tmp_path / "run")
  with np.load(other / "codes.npz") as saved:
    arrays = dict(saved)
  arrays["query_labels"][:] = 0
  np.savez(other / "codes.npz", **arrays)
  text = report.write([str(other)]).read_text()
  assert "No images: None of the 40 sampled queries shares a label" in text
  assert "The query is on the left" not in text


def test_runs_of_equal_name_get_unique_names(folder, tmp_path):
  (tmp_path / "a").mkdir()
  twin = copy(folder, tmp_path / "a" / folder.name)
  first, second = run_files.read_all([str(folder), str(twin)])
  assert first.name != second.name


def test_an_unfinished_run_is_a_one_line_error(command, tmp_path):
  process = command.start(
    f"--workdir={tmp_path}", module="dsh_jax.apps.compare"
  )
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
    config={},
    result={},
    log=(),
    query_codes=codes.pack(bits),
    query_labels=query_labels,
    database_codes=codes.pack(database_bits),
    database_labels=database_labels,
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


@pytest.mark.parametrize("num_bits", [1])
def test_degenerate_codes_are_drawn(num_bits):
  bits = np.zeros((1, num_bits))
  labels = np.zeros((1, 2), np.uint8)
  run = tiny_run(bits, labels, labels)
  assert all(figure.png[:4] == b"\x89PNG" for figure in figures.of_run(run))
  run.result.update(selected_step=0)
  assert all("<svg" in figure.svg for figure in figures.shared([run]))
  assert gallery.create(run, None) == {}
