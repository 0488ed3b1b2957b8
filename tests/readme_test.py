"""What the README says, done: its commands and its code, copied from it."""

import csv
import re
import shlex
import shutil
import subprocess
import sys

import commands
import pytest
from PIL import Image

from dsh_jax import data
from dsh_jax.apps import index as index_lib

README = (commands.ROOT / "README.md").read_text()
# Run by .ci/run, as they are or at a small size.
IN_CI = {"./run.sh", "./run.sh test"}
# Need what is not here, have a test of their own, or are in .ci/run.
ELSEWHERE = (
  *("gcloud", "YOUR_BUCKET", "ARCHIVES", "method=cosine", "--dry_run"),
  *("ahead/bin", "features.npz", "--id=item7", "pip install"),
)
SMALL = (*commands.SMALL[1:], "--config.train.num_epochs=1")
# Of the folder of 60 pictures below.
SMALL_OWN = (
  "--config.train.num_epochs=1",
  "--config.eval.batch_size=32",
  "--config.tensorboard=False",
)


def blocks(language):
  """Returns the blocks of a language."""
  return re.findall(rf"^```{language}\n(.*?)^```", README, re.M | re.S)


LINES = [line for block in blocks("sh") for line in block.splitlines()]


@pytest.fixture(scope="module")
def folder(command, tmp_path_factory):
  """A folder as the README has it, where its commands are run in order."""
  folder = tmp_path_factory.mktemp("readme")
  (folder / "configs").symlink_to(commands.ROOT / "configs")
  workdir = folder / "runs" / "digits-idhn-48-0"
  shutil.copytree(command.finished[0], workdir)
  pictures = folder / "pictures"
  pictures.mkdir()
  with pytest.MonkeyPatch.context() as patch:
    patch.setenv("XDG_CACHE_HOME", command.environment["XDG_CACHE_HOME"])
    split = index_lib.load(str(workdir / "codes.npz"))._split
  lines = []
  for row in range(60):
    Image.fromarray(split.take([row])[0]).save(pictures / f"{row}.png")
    names = [str(label) for label in range(10) if split.labels[row, label]]
    lines.append(f"{row}.png,{';'.join(names)}\n")
  (pictures / "labels.csv").write_text("".join(lines))
  shutil.copy(pictures / "3.png", folder / "photo.jpg")
  return folder


def start(command, folder, words):
  """Starts a command of the README with this Python and this code."""
  assert words[0] == "python"
  return subprocess.Popen(
    [sys.executable, *words[1:]],
    cwd=folder,
    env=command.environment | {"PYTHONPATH": str(commands.ROOT)},
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
  )


def run(command, folder, words):
  """Runs it; returns standard output."""
  process = start(command, folder, words)
  out, err = process.communicate(timeout=300)
  assert process.returncode == 0, (words, err)
  return out


def test_its_commands_work(command, folder):
  done = 0
  for line in LINES:
    words = shlex.split(line)
    if any(mark in line for mark in ELSEWHERE) or line in IN_CI:
      continue
    if words[0] == "./run.sh":
      small = SMALL_OWN if "listfile" in line else SMALL
      asks = line.endswith("=?")
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


def test_the_rest_of_its_commands_are_in_ci():
  text = (commands.ROOT / ".ci" / "run").read_text()
  assert IN_CI <= set(LINES)
  assert "./run.sh test" in text and "(./run.sh --config=" in text
  (line,) = (line for line in LINES if "--dry_run" in line)
  assert re.search(r"grep '\^(.*)' README.md", text)[1] in line


def test_its_code_works():
  library, _ = blocks("python")
  names = {}
  exec(library, names)
  assert names["value"] > 0 and names["hist"].sum() == 50 * 250


def test_a_loss_is_added_as_it_says(command, folder, tmp_path):
  _, code = blocks("python")
  body = code.split('"""', 2)[2].strip().splitlines()
  statements = [x for x in body if x.strip() and not x.startswith("import")]
  assert len(statements) <= 20
  for name in ("dsh_jax", "configs"):
    shutil.copytree(
      commands.ROOT / name,
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


def test_its_links_and_names_exist():
  for path in re.findall(r"\]\(([^)#]+)\)", README):
    assert (commands.ROOT / path).exists(), path
  for path in re.findall(r"`((?:configs|dsh_jax|benchmarks)/[\w/.]+)`", README):
    if "NAME" not in path and path != "dsh_jax/losses/cosine.py":
      assert (commands.ROOT / path).exists(), path
  assert set(data.DATASETS) >= {"listfile", "digits"}


def test_the_table_of_methods_is_the_one_measured():
  path = commands.ROOT / "benchmarks" / "results" / "digits" / "table.csv"
  with open(path, newline="") as file:
    measured = {
      (row["method"], row["metric"]): row
      for row in csv.DictReader(file)
      if row["bits"] == "48"
    }
  lines = [line.strip("|").split("|") for line in README.splitlines()]
  lines = [[cell.strip() for cell in line] for line in lines]
  head = next(i for i, line in enumerate(lines) if line[:1] == ["method"])
  metrics, shown = lines[head][1:], {}
  for method, *cells in lines[head + 2 :]:
    if not cells:
      break
    shown[method] = cells
  methods = {
    name for name, _ in measured if measured[name, metrics[0]]["seeds"] != "0"
  }
  assert set(shown) == methods | {"chance"}
  for method, cells in shown.items():
    for metric, cell in zip(metrics, cells, strict=True):
      row = measured[method, metric]
      want = f"{float(row['mean']):.3f}"
      if row["half_width_95"]:
        want += f" ± {float(row['half_width_95']):.3f}"
      assert cell == want, (method, metric)
