"""The report page: tables, figures and galleries in one HTML file."""

import dataclasses
import pathlib
import re
from collections.abc import Sequence
from typing import Any

import jinja2
import markupsafe

from dsh_jax import errors, files
from dsh_jax.report import (
  diagnostics,
  drawing,
  figures,
  gallery,
  run_files,
)
from dsh_jax.report.run_files import RunFiles


@dataclasses.dataclass(frozen=True)
class Part:
  """The part of the page about one run.

  Attributes:
    run: The run.
    colour: Its colour in the shared figures, "#rrggbb".
    figures: Figures of this run alone.
    gallery: "Best", "Median", "Worst" -> rows; empty if there is none.
    problem: Why there is no gallery; "" if there is one.
  """

  run: RunFiles
  colour: str
  figures: Sequence[drawing.Figure]
  gallery: dict[str, list[gallery.Row]]
  problem: str


def write(workdirs: Sequence[str], out: str = "") -> pathlib.Path:
  """Write the report of runs and return the path of the HTML file.

  Args:
    workdirs: Folders of finished runs, at least one; several are compared.
    out: The HTML file; figures are written as PNG files to a folder beside it.
      "" is report.html (comparison.html for several runs) in the folder of
      the first run.
  """
  runs = run_files.read_all(workdirs)
  name = "report.html" if len(runs) == 1 else "comparison.html"
  path = pathlib.Path(out).expanduser() if out else runs[0].folder / name
  shared = [*figures.shared(runs), *diagnostics.of_runs(runs)]
  parts = [_part(run, place) for place, run in enumerate(runs)]
  html = _render(parts, shared)
  try:
    folder = path.with_name(f"{path.stem}_figures")
    folder.mkdir(parents=True, exist_ok=True)
    for figure in (*shared, *(x for part in parts for x in part.figures)):
      (folder / f"{figure.name}.png").write_bytes(figure.png)
    for part in parts:
      if part.gallery:
        name = f"{figures.file_name(part.run)}_gallery.png"
        (folder / name).write_bytes(gallery.draw(part.gallery))
    with files.replacing(path) as partial:
      partial.write_text(html, encoding="utf-8")
  except OSError as error:
    raise errors.UserError(
      f"Cannot write the report to {path}: {error.strerror}. Change --out."
    ) from error
  return path


def _part(run: RunFiles, place: int) -> Part:
  rows, problem = {}, ""
  try:
    rows = gallery.create(run, gallery.load_splits(run))
  except (errors.UserError, OSError) as error:
    problem = str(error)  # The report is useful without images.
  if not rows and not problem:
    problem = (
      f"None of the {len(run.sample)} sampled queries shares a label with a"
      " database item."
    )
  return Part(
    run=run,
    colour=drawing.colour(place),
    figures=figures.of_run(run),
    gallery=rows,
    problem=problem,
  )


def _render(parts: Sequence[Part], shared: Sequence[drawing.Figure]) -> str:
  environment = jinja2.Environment(
    loader=jinja2.PackageLoader("dsh_jax.report", "."),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
  )
  # Drawn here, with all text in it escaped.
  environment.filters["drawn"] = lambda figure: markupsafe.Markup(figure.svg)
  environment.filters["plain"] = _plain
  runs = [part.run for part in parts]
  return environment.get_template("page.html").render(
    parts=parts,
    runs=runs,
    shared=shared,
    metrics=_metrics(runs),
    fields=_fields(runs),
    metric_of_gallery=gallery.METRIC,
    max_queries=run_files.MAX_QUERIES,
  )


def _metrics(runs: Sequence[RunFiles]) -> list[dict[str, Any]]:
  """Return the rows of the score table, with bars from 0 to `top`."""
  names = dict.fromkeys(name for run in runs for name in run.result["metrics"])
  rows = []
  for name in names:
    cells = [run.result["metrics"].get(name) for run in runs]
    top = max(1.0, *(cell["optimistic"] for cell in cells if cell))
    rows.append({"name": name, "cells": cells, "top": top})
  return rows


def _fields(runs: Sequence[RunFiles]) -> list[dict[str, Any]]:
  """Return the rows of the configuration table."""
  names = sorted({name for run in runs for name in run.config})
  return [
    {
      "name": name,
      "values": (values := [run.config.get(name, "") for run in runs]),
      "differs": any(value != values[0] for value in values),
    }
    for name in names
  ]


def _plain(value: Any) -> str:
  """Return a config value as text in which long words can break."""
  text = str(value) if value not in ("", [], None) else "–"
  return re.sub(r"([/,_])", "\\1\u200b", text)
