"""Lists runs, finished or not, with their scores."""

import glob
import json
import os
import pathlib
from collections.abc import Sequence
from typing import Any

from dsh_jax import errors, files
from dsh_jax.apps import commands

_HEAD = ("run", "method", "bits", "seed", "data", "epochs", "metric", "score")


def with_bare_words(argv: Sequence[str]) -> list[str]:
  """Return a command line whose bare words are values of --workdir.

  A shell expands the pattern in `--workdir runs/*` to words.
  """
  takes_value = {
    f"{dashes}{name}"
    for dashes in ("-", "--")
    for name in ("workdir", "out", "metric")
  }
  return [
    word
    if word.startswith("-") or before in takes_value
    else f"--workdir={word}"
    for before, word in zip(["", *argv], argv, strict=False)
  ]


def find(patterns: Sequence[str]) -> list[str]:
  """Return the folders that patterns such as runs/* match, each once.

  A pattern that matches nothing is returned unchanged.
  """
  found = []
  for pattern in patterns:
    matches = sorted(glob.glob(os.path.expanduser(pattern)))
    if matches != [pattern]:
      matches = [match for match in matches if os.path.isdir(match)]
    found += matches or [pattern]
  return list(dict.fromkeys(found))


def _describe(folder: str, metric: str) -> tuple[str, ...] | None:
  """Return the cells of `_HEAD`, or None if the folder holds no run."""
  try:
    config = _read(folder, "config.json")
    if config is None:
      return None
    result = _read(folder, "result.json")
    digests = (result or {}).get("files", {})
    for name in {"config.json", "metrics.jsonl"} & digests.keys():
      if files.sha256(pathlib.Path(folder, name)) != digests[name]:
        raise ValueError(f"{name} was modified")
    return (
      folder,
      str(config["method"]),
      str(config["bits"]),
      str(config["seed"]),
      str(config["data.name"]),
      f"{_epochs(folder)} of {config['train.num_epochs']}",
      *_score(metric or config["eval.select_metric"], result),
    )
  except (OSError, ValueError, KeyError, TypeError, AttributeError):
    return folder, *["?"] * (len(_HEAD) - 2), "damaged"


def _read(folder: str, name: str) -> dict[str, Any] | None:
  if not os.path.isdir(folder):
    return None
  try:
    return files.read_sealed(pathlib.Path(folder, name))[0]
  except FileNotFoundError:
    return None


def _epochs(folder: str) -> str:
  try:
    content = files.read_bytes(pathlib.Path(folder, "metrics.jsonl"))
    lines = content.splitlines()
    return f"{json.loads(lines[-1])['epoch']:g}"
  except (FileNotFoundError, IndexError):
    return "0"
  except ValueError:  # A line that is being written.
    return f"{json.loads(lines[-2])['epoch']:g}" if lines[1:] else "0"


def _score(metric: str, result: dict[str, Any] | None) -> tuple[str, str]:
  if result is None:
    return "", "not finished"
  found = result["metrics"].get(metric)
  return metric, f"{found['expected']:.4f}" if found else "not recorded"


def main(argv: Sequence[str]) -> None:
  """Run the command."""
  given = commands.parse("runs", with_bare_words(argv))
  described = (_describe(f, given.metric) for f in find(given.workdir))
  rows = [row for row in described if row]
  if not rows:
    raise errors.UserError(
      f"There is no run in {', '.join(given.workdir)}. Give folders of runs"
      " with --workdir=PATTERN."
    )
  rows.sort(key=lambda row: row[7], reverse=True)  # Best first.
  rows.sort(key=lambda row: (row[4], row[6]))
  widths = [max(map(len, column)) for column in zip(_HEAD, *rows, strict=True)]
  for row in (_HEAD, *rows):
    cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
    print("  ".join(cells).rstrip())
