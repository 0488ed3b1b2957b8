"""Damages the files of a run, its index and its data, and reads them again.

python -m benchmarks.faults.damage --cases=2000 --results=benchmarks/results

A small run on pictures, with a frozen backbone, is made once. Each case changes
one file at a random place, or removes it, and then reads it as one command
does. The answer is compared with that of the undamaged files: it is the same,
or the command refuses in one line, or it says in one line what it left out. An
different answer without a warning is a failure, and so is a traceback.
"""

import collections
import contextlib
import dataclasses
import io
import logging
import pathlib
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from absl import flags
from PIL import Image

from benchmarks import hardware
from dsh_jax import errors, files, train
from dsh_jax.apps import command, edit, encode, evaluate, list_runs, search
from dsh_jax.apps import index as index_lib
from dsh_jax.config import factories, fields
from dsh_jax.report import run_files
from dsh_jax.runs import checkpoint, trained

_NUM_PICTURES = 72


@dataclasses.dataclass(frozen=True)
class Reader:
  """A command, without printing and drawing.

  Attributes:
    read: Folder with `run`, `index.npz` and `cache` -> its answer, compared by
      digest.
    reads: Pattern of the files that it reads, below that folder.
    weight: Share of the cases, relative to the others.
    writes: Whether it may write to the folder.
    removes: Whether the damage may be that a file is missing; a run without
      its result is not finished, and the same command resumes it.
  """

  read: Callable[[pathlib.Path], Any]
  reads: str
  weight: int
  writes: bool = False
  removes: bool = True


def _digest(answer) -> str:
  """Return a digest of arrays and of what JSON can hold, in containers."""
  if isinstance(answer, np.ndarray):
    return checkpoint.digest(answer)
  if isinstance(answer, Mapping):
    answer = [[str(name), answer[name]] for name in sorted(answer, key=str)]
  if isinstance(answer, (list, tuple)):
    return files.sha256_of_json([_digest(item) for item in answer])
  return files.sha256_of_json(answer)


def read_report(folder: pathlib.Path) -> Any:
  """Return the data of a report, except pictures."""
  run = run_files.read(str(folder / "run"))
  return {
    field.name: getattr(run, field.name)
    for field in dataclasses.fields(run)
    if field.name != "folder"
  }


def read_result(folder: pathlib.Path) -> Any:
  """Return the result of the same command, given again."""
  return train.train_and_evaluate(_config(folder), str(folder / "run"))


def read_scores(folder: pathlib.Path) -> Any:
  """Return the scores of codes.npz."""
  return evaluate.evaluate_files(str(folder / "run" / "codes.npz"))


def search_index(folder: pathlib.Path) -> Any:
  """Return the neighbours of an item of an index of picture files."""
  index = index_lib.load(str(folder / "index.npz"), str(folder / "run"))
  query, _ = search.query_of_item(index, "3.png")
  found = index.nearest(query, 20)
  return found, [str(index.ids[row]) for _, row in found], index.root


def search_run(folder: pathlib.Path) -> Any:
  """Return the neighbours of an item of a run, with its picture."""
  index = index_lib.load(str(folder / "run" / "codes.npz"))
  query, hit = search.query_of_item(index, str(index.ids[0]))
  found = index.nearest(query, 20)
  return found, [str(index.ids[row]) for _, row in found], hit.source


def list_run(folder: pathlib.Path) -> Any:
  """Return the line of a run in a list; one that says "damaged" refuses."""
  printed = io.StringIO()
  with contextlib.redirect_stdout(printed):
    list_runs.main([f"--workdir={folder / 'run'}"])
  if "damaged" in printed.getvalue():
    raise errors.UserError("The run is damaged.")
  return printed.getvalue()


def edit_index(folder: pathlib.Path) -> Any:
  """Return an index without one of its items."""
  out = folder / "edited.npz"
  edit.main(
    [f"--index={folder / 'index.npz'}", "--remove=3.png", f"--out={out}"]
  )
  return files.read_arrays(out)


def load_run(folder: pathlib.Path) -> Any:
  """Return the encoder, as encode, search, serve and export use it."""
  run = trained.load_run(str(folder / "run"))
  index = index_lib.load(str(folder / "index.npz"))
  index_lib.check_encoder(index, run.encoder_sha256)
  return checkpoint.digest(run.weights), fields.flatten(run.config), run.result


def resume(folder: pathlib.Path) -> Any:
  """Return the result of a run killed before it wrote its result."""
  config = _config(folder)
  (folder / "run" / "result.json").unlink(missing_ok=True)
  result = train.train_and_evaluate(config, str(folder / "run"))
  with np.load(folder / "run" / "codes.npz") as saved:
    return result["metrics"], dict(saved)


def read_data(folder: pathlib.Path) -> Any:
  """Return all splits with their pixels."""
  splits = factories.load_splits(_config(folder))
  taken = [
    getattr(splits, name).take(np.arange(len(getattr(splits, name))))
    for name in ("train", "validation", "query", "database")
  ]
  return taken, splits.sha256, splits.class_names, splits.notes


def build_data(folder: pathlib.Path) -> Any:
  """Return them from the records, which are decoded again."""
  shutil.rmtree(folder / "cache" / "arrays")
  return read_data(folder)


_OF_RUN = r"run/(config\.json|result\.json|codes\.npz|metrics\.jsonl)"
READERS = {
  "report": Reader(read_report, _OF_RUN, 20),
  "the same command again": Reader(
    read_result, r"run/(config|result)\.json", 20, removes=False
  ),
  "runs": Reader(
    list_run, r"run/(config|result)\.json|run/metrics\.jsonl", 10, removes=False
  ),
  "evaluate": Reader(read_scores, r"run/codes\.npz", 20),
  "edit": Reader(edit_index, r"index\.npz", 10),
  "search --id": Reader(search_index, r"index\.npz|run/config\.json", 20),
  "search --id, picture": Reader(
    search_run,
    r"run/((config|result)\.json|codes\.npz)|cache/arrays/.*",
    5,
    True,
  ),
  "encode, search, serve, export": Reader(
    load_run,
    r"run/(config\.json|result\.json|backbone\.npz|checkpoints/.*)|index\.npz",
    15,
  ),
  "prepared data": Reader(read_data, r"cache/.*", 15, True),
  "data built from records": Reader(
    build_data, r"cache/(?!arrays/).*", 5, True
  ),
  "resume": Reader(
    resume,
    r"run/(config\.json|metrics\.jsonl|backbone\.npz|checkpoints/.*)|cache/.*",
    15,
    True,
  ),
}


def _config(folder):
  from configs import listfile

  config = listfile.get_config("method=dpsh,bits=16")
  config.update_from_flattened_dict(
    {
      "data.manual_dir": str(folder / "pictures"),
      "data.csv": str(folder / "pictures" / "labels.csv"),
      "data.dir": str(folder / "cache"),
      "data.image_size": 24,
      "data.crop_size": 0,
      "model.backbone": "tiny",
      "model.pretrained": "",
      "model.hidden_layers": (8,),
      "train.batch_size": 16,
      "train.num_epochs": 3,
      "train.validate_every_epochs": 1,
      "train.log_every_steps": 1,
      "eval.batch_size": 16,
    }
  )
  return config


def make_run(folder: pathlib.Path) -> None:
  """Write pictures, a run on them, and an index of the pictures.

  Args:
    folder: An existing folder, for `run`, `index.npz`, `cache`, `pictures`.
  """
  rng = np.random.default_rng(0)
  (folder / "pictures").mkdir()
  lines = []
  for row in range(_NUM_PICTURES):
    pixels = rng.integers(0, 256, (24, 24, 3)) // (1 + row % 3)
    Image.fromarray(pixels.astype(np.uint8)).save(
      folder / "pictures" / f"{row}.png"
    )
    lines.append(f"{row}.png,{row % 3};{3 + row % 2}\n")
  (folder / "pictures" / "labels.csv").write_text("".join(lines))
  train.train_and_evaluate(_config(folder), str(folder / "run"))
  encode.encode_pictures(
    str(folder / "run"), str(folder / "pictures"), str(folder / "index.npz")
  )


def damage(
  rng: np.random.Generator, path: pathlib.Path, removes: bool = True
) -> str:
  """Damage a file at a random place and return how."""
  content = path.read_bytes()
  size = len(content)
  first = int(rng.integers(size + 1))
  length = int(min(size - first, 2 ** rng.integers(0, 10)))
  new = rng.bytes(length)
  kinds = ["bit", "bytes", "zeros", "cut", "left out", "added"]
  kinds += ["removed"] * removes
  digits = [m.start() for m in re.finditer(rb"\d", content[:1_000_000])]
  if path.suffix in (".json", ".jsonl") and digits:
    kinds += ["digit"] * 4  # Only a digest can detect it.
  kind = str(rng.choice(kinds))
  if kind == "removed":
    path.unlink()
    return kind
  if kind == "bit" and size:
    first = min(first, size - 1)
    new = bytes([content[first] ^ (1 << int(rng.integers(8)))])
    length = 1
  elif kind == "digit":
    first, length = int(rng.choice(digits)), 1
    new = b"%d" % rng.integers(10)
  elif kind == "zeros":
    new = bytes(length)
  elif kind == "cut":
    new, length = b"", size - first
  elif kind == "left out":
    new = b""
  elif kind == "added":
    length = 0
  path.write_bytes(content[:first] + new + content[first + length :])
  return f"{kind} at {first}"


def ask(reader: Reader, folder: pathlib.Path) -> tuple[str, str, str]:
  """Return how a command ended, its answer or error, and its warnings.

  Returns:
    "read", "refused" or "failed"; a digest, or an error's text; and what was
    logged and printed.
  """
  log = io.StringIO()
  handler = logging.StreamHandler(log)
  logging.getLogger().addHandler(handler)
  try:
    with contextlib.redirect_stderr(log), contextlib.redirect_stdout(log):
      answer = _digest(reader.read(folder))
  except errors.Error as error:
    text = str(error)
    return ("failed" if "\n" in text else "refused"), text, log.getvalue()
  except Exception as error:  # The errors that this program looks for.
    return "failed", f"{type(error).__name__}: {error}", log.getvalue()
  finally:
    logging.getLogger().removeHandler(handler)
  return "read", answer, log.getvalue()


def run_cases(
  name: str,
  pristine: pathlib.Path,
  folder: pathlib.Path,
  num_cases: int,
  seed: int = 0,
) -> tuple[collections.Counter, list[str]]:
  """Damage files and read them with one command.

  Args:
    name: Of `READERS`.
    pristine: A folder as `make_run` leaves it.
    folder: Folder in which the run was made; replaced for every case.
    num_cases: Number of cases.
    seed: Of the damage.

  Returns:
    Numbers of cases "refused", read "equal" and read equal but "said", and
    the failures.
  """
  reader = READERS[name]
  rng = np.random.default_rng([seed, len(name)])
  count, failures = collections.Counter(), []

  def restore():
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(pristine, folder, symlinks=True)

  restore()
  how, wanted, _ = ask(reader, folder)
  if how != "read":
    return count, [f"undamaged: {wanted}"]
  known = [path.relative_to(pristine) for path in sorted(pristine.rglob("*"))]
  known = [
    path
    for path in known
    if (pristine / path).is_file() and re.fullmatch(reader.reads, str(path))
  ]
  path = None
  for _ in range(num_cases):
    if reader.writes:
      restore()
    elif path:
      shutil.copy(pristine / path, folder / path)
    path = known[rng.integers(len(known))]
    what = f"{path}, {damage(rng, folder / path, reader.removes)}"
    how, answer, said = ask(reader, folder)
    if how == "failed":
      failures.append(f"{what}: {answer}")
    elif how == "refused":
      count["refused"] += 1
    elif answer == wanted:
      count["said" if "damaged" in said else "equal"] += 1
    else:
      failures.append(f"{what}: another answer, and only {said!r} was said")
  return count, failures


def _run(argv: Sequence[str]) -> int:
  command.parse(argv, description=__doc__)
  started = time.monotonic()
  lines = [
    "| Command | cases | refused | read, with a warning | read, no difference"
    " | failures |",
    "| --- " + "| ---: " * 5 + "|",
  ]
  total = num_failures = 0
  weights = sum(reader.weight for reader in READERS.values())
  with tempfile.TemporaryDirectory() as outer:
    folder, pristine = pathlib.Path(outer, "work"), pathlib.Path(outer, "kept")
    folder.mkdir()
    # A resume takes 3 s and not 40 when it finds its programs.
    jax.config.update("jax_compilation_cache_dir", f"{outer}/programs")
    make_run(folder)
    shutil.copytree(folder, pristine)
    for name, reader in READERS.items():
      num_cases = -(-flags.FLAGS.cases * reader.weight // weights)
      count, failures = run_cases(
        name, pristine, folder, num_cases, flags.FLAGS.seed
      )
      lines.append(
        f"| {name} | {num_cases:,} | {count['refused']:,} | {count['said']:,} |"
        f" {count['equal']:,} | {len(failures)} |"
      )
      secs = time.monotonic() - started
      print(lines[-1], f"{secs:.0f} s", *failures[:8], sep="\n", flush=True)
      total += num_cases
      num_failures += len(failures)
      _write(lines, total, num_failures, secs)
  return int(num_failures > 0)


def _write(lines, total, num_failures, secs):
  """Write the page with the results so far."""
  text = "\n".join(
    [
      "# A run, its index and its data, damaged and read again",
      "",
      f"`python -m benchmarks.faults.damage --cases={flags.FLAGS.cases}"
      f" --seed={flags.FLAGS.seed}` on {hardware.describe()}, commit"
      f" {hardware.commit()}, {secs:.0f} s: {total:,} cases, {num_failures}"
      " failures.",
      "",
      "Each case damages one file of a small run at a random place and reads it"
      " as a command does. Refused: in one line. Read, with a warning: the"
      " answer is that of the undamaged files, from an earlier checkpoint or"
      " data that were built again, and one line says so. Read, no difference:"
      " the same answer, as the damaged bytes are not part of it. A failure"
      " would be a traceback, or another answer without a word.",
      "",
      *lines,
    ]
  )
  if flags.FLAGS.results:
    path = pathlib.Path(flags.FLAGS.results, "damage.md")
    path.write_text(text + "\n")


if __name__ == "__main__":
  flags.DEFINE_integer("cases", 2000, "Number of cases.")
  flags.DEFINE_integer("seed", 0, "Seed of the damage.")
  flags.DEFINE_string("results", "", "Folder to write damage.md to.")
  command.run(_run)
