"""The text that a finished run and an evaluation print."""

import shlex
from collections.abc import Mapping
from typing import Any


def table(result: Mapping[str, Any]) -> str:
  """Return the scores of a run as text.

  Args:
    result: The contents of result.json.
  """
  counts = result["counts"]
  inside = "inside" if result["train_in_database"] else "outside"
  lines = [
    f"{result['method']}, {result['bits']} bits, {result['backbone']} on"
    f" {result['dataset']} (protocol {result['protocol']}, seed"
    f" {result['seed']})",
    f"{counts['queries']} queries, {counts['database']} database items,"
    f" {counts['queries_without_relevant']} queries with nothing relevant,"
    f" training set {inside} the database",
    f"epoch {result['selected_epoch']}, selected by {result['select']}",
    "",
    *scores(result["metrics"]),
    *_baselines(result),
    *_choice(result),
    *(f"Warning: {text}" for text in result.get("data_warnings", ())),
    "",
    _times(result),
  ]
  return "\n".join(lines)


def _times(result):
  """Return a line with what each part of a run took."""
  seconds, perf = result["seconds"], result.get("perf", {})
  unit = "items" if len(result.get("input_shape", ())) == 1 else "images"
  parts = []
  if seconds.get("features"):  # 0 if they were there before.
    rate = f"{result['features_per_sec']:.0f} images/s"
    parts.append(f"features {seconds['features']:.1f} s ({rate})")
  if "choice" in seconds:
    parts.append(f"choice of the method {seconds['choice']:.1f} s")
  rate = f"{result['images_per_sec']:.0f} {unit}/s"
  if perf.get("mfu"):
    rate += f", MFU {perf['mfu']:.1%}"
  elif perf and not result["device"].endswith("cpu"):
    rate += ", MFU unknown"
  parts.append(f"training {seconds['training']:.1f} s ({rate})")
  parts.append(f"encoding {seconds['encoding']:.1f} s")
  parts.append(f"evaluation {seconds['evaluation']:.2f} s")
  return f"{', '.join(parts)} on {result['device']}"


def scores(metrics: Mapping[str, Mapping[str, float]]) -> list[str]:
  """Return the lines of a table of scores, header first.

  Args:
    metrics: Name -> "expected", "pessimistic", "optimistic" and "chance".
  """
  lines = [
    f"{'metric':<16}{'expected':>10}{'pessimistic':>13}{'optimistic':>12}"
    f"{'chance':>9}"
  ]
  for name, value in metrics.items():
    lines.append(
      f"{name:<16}{value['expected']:>10.4f}{value['pessimistic']:>13.4f}"
      f"{value['optimistic']:>12.4f}{value['chance']:>9.4f}"
    )
  return lines


def _baselines(result: Mapping[str, Any]) -> list[str]:
  """Return a line per baseline."""
  return [
    f"{name:<26}"
    + ", ".join(f"{metric} {value:.4f}" for metric, value in found.items())
    for name, found in result.get("baselines", {}).items()
  ]


def _choice(result: Mapping[str, Any]) -> list[str]:
  """Return lines with the methods tried, best first."""
  ranking = result.get("choice", [])
  if not ranking:
    return []
  lines = ["", "tried on validation queries   score   95 % interval over them"]
  return lines + [
    f"{row['method']:<28}{row['score']:>7.4f}   ± {row['half_width']:.4f}"
    for row in ranking
  ]


def next_steps(workdir: str, backbone: str) -> str:
  """Return the commands that use a finished run, as text.

  Args:
    workdir: The folder of the run.
    backbone: Its name; "features" encodes vectors instead of images.
  """
  workdir = shlex.quote(workdir)
  source = "--features=FILE" if backbone == "features" else "--images=FOLDER"
  return f"""
Next:
  python -m dsh_jax serve --index={workdir}/codes.npz
      searches its database in the browser
  python -m dsh_jax encode --workdir={workdir} {source} --out=codes.npz
      encodes items of your own
  python -m dsh_jax export --workdir={workdir} --out=DIR
      writes the encoder and the codes for use elsewhere
  the same command with --config.train.num_epochs=N --workdir=DIR
      trains longer, from the start: the learning rate spans all epochs"""
