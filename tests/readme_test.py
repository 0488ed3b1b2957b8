"""README and docs: commands and code are run, links and numbers checked."""

import csv
import importlib
import json
import pathlib
import re
import shlex
import shutil
import subprocess
import sys

import commands
import pytest
from PIL import Image

from benchmarks import methods_page
from configs import methods
from dsh_jax import __version__, data, losses
from dsh_jax.apps import commands as commands_lib
from dsh_jax.apps import index as index_lib
from dsh_jax.apps import pictures as pictures_lib
from dsh_jax.config import fields

ROOT = commands.ROOT
README = (ROOT / "README.md").read_text()
# In the order in which their commands are run.
PAGES = {
  path: path.read_text()
  for path in (
    ROOT / "README.md",
    *sorted((ROOT / "docs").glob("*.md")),
    ROOT / "CONTRIBUTING.md",
    ROOT / "CHANGELOG.md",
  )
}
# Run by .ci/run, as they are or at a small size.
IN_CI = {"./run.sh", "./run.sh test"}
# Beginning of a command, or a word in it -> why it is not run here.
NOT_RUN = {
  "./run.sh test -m": "a part of ./run.sh test",
  "gcloud": "needs an account and a TPU",
  "pip install": "the tests have these packages",
  "YOUR_BUCKET": "sets names for the commands above",
  "ARCHIVES": "needs data to download; paper_tables_test.py has stand-ins",
  "--dry_run": "run by .ci/run without --dry_run",
  "method=cosine": "test_a_loss_is_added_as_it_says",
  "data.query=query.txt": "data/listfile_test.py reads such lists",
  "manual_dir=by_label": "data/listfile_test.py reads such folders",
  "labelled.npz": "apps/encode_test.py and apps/edit_test.py have such files",
  "more.npz": "another dsh_jax encode",
  "edited.npz": "apps/edit_test.py writes such a file",
  "resnet50.pth": "needs a download; models/pretrained_test.py has a file",
  "--query_codes=q.npy": "apps/evaluate_test.py scores such files",
  "dsh_jax features": "apps/features_test.py",
  "configs/features.py": "apps/features_test.py",
  "runs/auto": "apps/features_test.py",
  "configs/tables/features.py": "runs/sweep_test.py does so",
  "benchmarks.compile_ahead": "needs a compiler that is not installed here",
  "benchmarks.methods_page": "test_the_page_of_methods_is_up_to_date",
  "benchmarks.speed": "minutes on a quiet machine",
  "benchmarks.own_pictures": "minutes",
  "openclipart": "needs a package of Debian",
  "benchmarks.clipart": "benchmarks/clipart_test.py",
  "configs/tables/clipart.py": "runs/sweep_test.py makes such a table",
}
SMALL = (*commands.SMALL[1:], "--config.train.num_epochs=1")
# Of the folder of 60 pictures below.
SMALL_OWN = (
  "--config.data.image_size=72",
  "--config.data.crop_size=64",
  "--config.train.num_epochs=1",
  "--config.train.batch_size=16",
  "--config.eval.batch_size=32",
  "--config.tensorboard=False",
)


def blocks(text, language):
  """Return the blocks of a language."""
  return re.findall(rf"^```{language}\n(.*?)^```", text, re.M | re.S)


LINES = list(
  dict.fromkeys(
    line
    for text in PAGES.values()
    for block in blocks(text, "sh")
    for line in block.splitlines()
  )
)


def is_run(line):
  """Whether a command is run by `test_the_commands_work`."""
  return line not in IN_CI and not any(mark in line for mark in NOT_RUN)


@pytest.fixture(scope="module")
def folder(command, tmp_path_factory):
  """A folder as the pages have it, where their commands are run in order."""
  folder = tmp_path_factory.mktemp("readme")
  (folder / "configs").symlink_to(ROOT / "configs")
  workdir = folder / "runs" / "digits-idhn-48-0"
  shutil.copytree(command.finished[0], workdir)
  pictures = folder / "pictures"
  pictures.mkdir()
  with pytest.MonkeyPatch.context() as patch:
    patch.setenv("XDG_CACHE_HOME", command.environment["XDG_CACHE_HOME"])
    split = pictures_lib.Pictures(
      index_lib.load(str(workdir / "codes.npz"))
    )._split
  lines = []
  for row in range(60):
    Image.fromarray(split.take([row])[0]).save(pictures / f"{row}.png")
    names = [str(label) for label in range(10) if split.labels[row, label]]
    lines.append(f"{row}.png,{';'.join(names)}\n")
  (pictures / "labels.csv").write_text("".join(lines))
  shutil.copy(pictures / "3.png", folder / "photo.jpg")
  return folder


def start(command, folder, words):
  """Start a command of a page with this Python and this code."""
  assert words[0] == "python"
  return subprocess.Popen(
    [sys.executable, *words[1:]],
    cwd=folder,
    env=command.environment | {"PYTHONPATH": str(ROOT)},
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
  )


def run(command, folder, words):
  """Run it; return standard output."""
  process = start(command, folder, words)
  out, err = process.communicate(timeout=300)
  assert process.returncode == 0, (words, err)
  return out


def test_the_commands_work(command, folder):
  done = 0
  for line in filter(is_run, LINES):
    words = shlex.split(line)
    if words[0] == "./run.sh":
      small = SMALL_OWN if "listfile" in line else SMALL
      asks = words[-1].endswith("=?")
      small = () if asks else (*small, "--noreport")
      words = ["python", "-m", "dsh_jax.main", *words[1:], *small]
    if "serve" in words:
      process = start(command, folder, [*words, "--port=0"])
      assert process.stdout.readline().startswith("Open http://127.0.0.1")
      process.terminate()
      process.communicate(timeout=60)
    else:
      run(command, folder, words)
    done += 1
  assert done >= 10
  for name in ("found.html", "pictures.npz", "runs/mine/codes.npz"):
    assert (folder / name).is_file()
  assert (folder / "take_away" / "load_encoder.py").is_file()


def test_the_rest_of_the_commands_are_in_ci_or_have_a_reason():
  text = (ROOT / ".ci" / "run").read_text()
  assert IN_CI <= set(LINES)
  assert "./run.sh test" in text and "(./run.sh --config=" in text
  (line,) = (line for line in LINES if "--dry_run" in line)
  pattern, page = re.search(r"grep '\^(.*)' (\S+)\)", text).groups()
  assert pattern in line and line in PAGES[ROOT / page]
  for mark in NOT_RUN:
    assert any(mark in line for line in LINES), f"No page has {mark}."


@pytest.mark.parametrize(
  "line",
  [
    line
    for line in LINES
    if not is_run(line) and re.match(r"(python|\./run.sh) .*--", line)
  ],
  ids=lambda line: line[:60],
)
def test_commands_that_are_not_run_have_modules_flags_and_fields(line):
  words = shlex.split(line)
  module = words[2] if words[0] == "python" else "dsh_jax.main"
  flags = [re.match(r"--([\w.]+)", word)[1] for word in words if "--" in word]
  if module in ("dsh_jax", "dsh_jax.main"):
    name = words[3] if module == "dsh_jax" else "train"
    source = " ".join(f'"{flag}"' for flag in commands_lib.COMMANDS[name].flags)
  else:
    path = ROOT.joinpath(*module.split("."))
    path = path / "__main__.py" if path.is_dir() else path.with_suffix(".py")
    source = path.read_text()
  for flag in flags:
    assert flag.startswith("config.") or f'"{flag}"' in source, (module, flag)
  paths = [flag.removeprefix("config.") for flag in flags if "." in flag]
  config = re.search(r"--config=configs/(\w+)\.py(?::(\S*))?", line)
  if config and "cosine" not in line:
    made = importlib.import_module(f"configs.{config[1]}")
    given = made.get_config(config[2] or "")
    for path in paths:
      fields.get(given, path)


def test_the_code_works():
  _, functions = blocks(PAGES[ROOT / "docs" / "library.md"], "python")
  names = {}
  exec(functions, names)
  assert names["value"] > 0 and names["hist"].sum() == 50 * 250


def test_a_run_is_loaded_as_it_says(folder, monkeypatch):
  loading, _ = blocks(PAGES[ROOT / "docs" / "library.md"], "python")
  monkeypatch.chdir(folder)
  names = {}
  exec(loading, names)
  assert names["outputs"].shape == (1, names["run"].config.bits)


def test_a_loss_is_added_as_it_says(command, folder, tmp_path):
  (code,) = blocks(README, "python")
  body = code.split('"""', 2)[2].strip().splitlines()
  statements = [x for x in body if x.strip() and not x.startswith("import")]
  assert len(statements) <= 20
  for name in ("dsh_jax", "configs"):
    shutil.copytree(
      ROOT / name,
      tmp_path / name,
      ignore=shutil.ignore_patterns("__pycache__"),
    )
  entry, preset = re.findall(r'\(`("cosine": .*?)`', README)
  (tmp_path / "dsh_jax" / "losses" / "cosine.py").write_text(code)
  for path, opening, line, more in (
    ("dsh_jax/losses/__init__.py", r"LOSSES: .*= \{\n", entry, "cosine"),
    ("configs/methods.py", r"METHODS = \{\n", preset, ""),
  ):
    text = (tmp_path / path).read_text()
    text, count = re.subn(f"({opening})", rf"\1  {line}\n", text)
    assert count == 1
    if more:
      text = text.replace("  csq,\n", f"  {more},\n  csq,\n", 1)
    (tmp_path / path).write_text(text)
  (line,) = (line for line in LINES if "method=cosine" in line)
  words = ["-m", "dsh_jax.main", *shlex.split(line)[1:]]
  done = subprocess.run(
    [sys.executable, *words, *SMALL, "--workdir=run"],
    cwd=tmp_path,
    env=command.environment,
    capture_output=True,
    text=True,
    timeout=300,
  )
  assert done.returncode == 0, done.stderr
  assert "cosine, 48 bits" in done.stdout


def anchors(path):
  """Return the names that links into a page may end in."""
  titles = re.findall(r"^#+ (.*)", path.read_text(), re.M)
  return {re.sub(r"[^\w -]", "", t.lower()).replace(" ", "-") for t in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_links_and_names_exist(page):
  for link in re.findall(r"\]\(([^)]+)\)", PAGES[page]):
    path, _, anchor = link.partition("#")
    if path.startswith("http"):
      continue
    target = page.parent / path if path else page
    assert target.exists(), link
    assert not anchor or anchor in anchors(target), link
  rooms = "configs|dsh_jax|benchmarks|tests|docs"
  for path in re.findall(rf"`((?:{rooms})/[\w/.]+)`", PAGES[page]):
    if "NAME" not in path and path != "dsh_jax/losses/cosine.py":
      assert (ROOT / path).exists(), path


def test_the_readme_is_short_and_names_every_page():
  assert len(README.splitlines()) <= 200
  for path in PAGES:
    relative = path.relative_to(ROOT)
    assert path.name == "README.md" or f"({relative})" in README, path
  assert set(data.DATASETS) >= {"listfile", "digits"}


def test_the_page_of_methods_is_up_to_date():
  page = methods_page.PATH.read_text()
  assert page == methods_page.page(), "Run python -m benchmarks.methods_page"
  for name, preset in methods.METHODS.items():
    assert f"| `{name}` | [{preset['loss']['name']}]" in page
  sections = dict(re.findall(r"^## (\w+)\n(.*?)(?=^## |\Z)", page, re.M | re.S))
  for name in losses.LOSSES:
    for setting, default in losses.default_settings(name).items():
      shown = str(default) if not isinstance(default, str) else f'"{default}"'
      assert f"| `{setting}` | `{shown}` | " in sections[name], (name, setting)


def table_of_methods(text):
  """Return metrics, and method -> cells, of the table in a page."""
  lines = [line.strip("|").split("|") for line in text.splitlines()]
  lines = [[cell.strip() for cell in line] for line in lines]
  head = next(i for i, line in enumerate(lines) if line[:1] == ["method"])
  rows = {}
  for method, *cells in lines[head + 2 :]:
    if not cells:
      break
    rows[method] = cells
  return lines[head][1:], rows


def test_the_tables_of_methods_are_the_one_measured():
  path = ROOT / "benchmarks" / "results" / "digits" / "table.csv"
  with open(path, newline="") as file:
    measured = {
      (row["method"], row["metric"]): row
      for row in csv.DictReader(file)
      if row["bits"] == "48" and not row["variant"]
    }
  metrics, shown = table_of_methods(PAGES[ROOT / "docs" / "results.md"])
  names = {
    name for name, _ in measured if measured[name, metrics[0]]["seeds"] != "0"
  }
  assert set(shown) == names | {"chance"}
  for method, cells in shown.items():
    for metric, cell in zip(metrics, cells, strict=True):
      row = measured[method, metric]
      want = f"{float(row['mean']):.3f}"
      if row["half_width_95"]:
        want += f" ± {float(row['half_width_95']):.3f}"
      assert cell == want, (method, metric)
  means = [float(cells[0].split()[0]) for cells in shown.values()]
  assert means[:-1] == sorted(means[:-1], reverse=True)
  top = list(table_of_methods(README)[1].items())
  assert len(top) >= 5 and top == list(shown.items())[: len(top)]


def test_the_scores_of_the_main_job_are_those_measured():
  path = ROOT / "benchmarks" / "results" / "main_job.json"
  measured = json.loads(path.read_text())["metrics"]
  rows = re.findall(
    r"^\| (\S+@\S+) \| ([\d.]+) \| ([\d.]+) to ([\d.]+) \| ([\d.]+) \|$",
    README,
    re.M,
  )
  assert len(rows) == 4
  kinds = ("expected", "pessimistic", "optimistic", "chance")
  for name, *shown in rows:
    for kind, text in zip(kinds, shown, strict=True):
      decimals = len(text.partition(".")[2])
      assert text == f"{measured[name][kind]:.{decimals}f}", (name, kind)


def test_the_version_is_the_same_everywhere():
  changes = PAGES[ROOT / "CHANGELOG.md"]
  assert re.search(r"^## (\d\S*)", changes, re.M)[1] == __version__
  citation = pathlib.Path(ROOT, "CITATION.cff").read_text()
  assert f"version: {__version__}\n" in citation
