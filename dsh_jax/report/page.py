"""The report page: tables, figures and galleries in one HTML file."""

import base64
import dataclasses
import math
import pathlib
import re
from collections.abc import Sequence
from typing import Any

import jinja2
import markupsafe

from dsh_jax import errors, files
from dsh_jax.data import overview
from dsh_jax.report import (
  breakdown,
  code_figures,
  comparison,
  diagnostics,
  figures,
  gallery,
  run_files,
  tables,
)
from dsh_jax.report.comparison import Block
from dsh_jax.report.run_files import RunFiles

# Runs with own figures and galleries; more make pages of hundreds of megabytes.
MAX_DETAILED = 6


@dataclasses.dataclass(frozen=True)
class Gallery:
  """The gallery of a block.

  Attributes:
    block: The runs.
    rows: "Best", "Median", "Worst" -> rows; empty if there is no gallery.
    problem: Why there is none, else "".
  """

  block: Block
  rows: dict[str, list[gallery.Row]]
  problem: str


def write(workdirs: Sequence[str], out: str = "") -> pathlib.Path:
  """Write the report of runs and return the path of the HTML file.

  Args:
    workdirs: Folders of finished runs, at least one; several are compared.
    out: The HTML file; PNG figures are written to a folder next to it, and a
      comparison also as .csv and .tex. "" is report.html (comparison.html for
      several runs) in the folder of the first run.
  """
  runs = run_files.read_all(workdirs)
  blocks = comparison.group(runs)
  name = "report.html" if len(runs) == 1 else "comparison.html"
  path = pathlib.Path(out).expanduser() if out else runs[0].folder / name
  settings = [setting for block in blocks for setting in block.settings]
  detailed = [setting.runs[0] for setting in settings[:MAX_DETAILED]]
  shared = [*figures.shared(settings), *diagnostics.of_runs(runs)]
  own = [(run, code_figures.of_run(run)) for run in detailed]
  galleries = [_gallery(block, detailed) for block in blocks]
  texts = {}
  if len(runs) > 1:
    texts = {".csv": tables.to_csv(blocks), ".tex": tables.to_tex(blocks)}
  html = _environment().get_template("page.html").render(
    runs=runs,
    blocks=blocks,
    settings=settings,
    warnings=comparison.warnings(blocks),
    differences=comparison.differences(settings),
    rows=_metrics(blocks[0]) if len(runs) == 1 else [],
    texts={path.with_suffix(end).name: text for end, text in texts.items()},
    shared=shared,
    own=own,
    galleries=[g for g in galleries if g.rows or g.problem],
    codes=[
      (setting, breakdown.describe_codes(setting.runs[0]))
      for setting in settings
    ],
    fields=_fields(runs),
    comparison=comparison,
    breakdown=breakdown,
    counts=overview.counts,
    metric_of_gallery=gallery.METRIC,
    max_queries=run_files.MAX_QUERIES,
    max_detailed=MAX_DETAILED,
  )  # fmt: skip
  try:
    folder = path.with_name(f"{path.stem}_figures")
    folder.mkdir(parents=True, exist_ok=True)
    for figure in (*shared, *(figure for _, drawn in own for figure in drawn)):
      (folder / f"{figure.name}.png").write_bytes(figure.png)
    for shown in galleries:
      if shown.rows:
        name = code_figures.file_name(shown.block.runs[0])
        png = gallery.draw(shown.rows)
        (folder / f"{name}_gallery.png").write_bytes(png)
    for end, text in ({path.suffix: html} | texts).items():
      with files.replacing(path.with_suffix(end)) as partial:
        partial.write_text(text, encoding="utf-8")
  except OSError as error:
    raise errors.UserError(
      f"Cannot write the report to {path}: {error.strerror}. Change --out."
    ) from error
  return path


def _gallery(block: Block, detailed: Sequence[RunFiles]) -> Gallery:
  names = {run.name for run in detailed}
  runs = [s.runs[0] for s in block.settings if s.runs[0].name in names]
  rows, problem = {}, ""
  if not runs:
    return Gallery(block, rows, problem)
  try:
    rows = gallery.create(runs, gallery.load_splits(runs[0]))
  except (errors.UserError, OSError) as error:
    problem = str(error)  # The report is useful without images.
  if not rows and not problem:
    problem = (
      f"None of the {len(runs[0].sample)} sampled queries shares a label with a"
      " database item."
    )
  return Gallery(block, rows, problem)


def _environment() -> jinja2.Environment:
  environment = jinja2.Environment(
    loader=jinja2.PackageLoader("dsh_jax.report", "."),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
  )
  # matplotlib has escaped its text.
  environment.filters["drawn"] = lambda figure: markupsafe.Markup(figure.svg)
  environment.filters["plain"] = _plain
  environment.filters["number"] = lambda x: "{:,}".format(x)  # noqa: UP032
  environment.filters["data"] = lambda text: (
    f"data:text/plain;base64,{base64.b64encode(text.encode()).decode()}"
  )
  environment.tests["known"] = lambda value: not math.isnan(value)
  return environment


def _metrics(block: Block) -> list[dict[str, Any]]:
  """Return the rows of a run's score table, with bars from 0 to `top`."""
  (setting,) = block.settings
  return [
    {
      "name": name,
      "cell": cell,
      "over_queries": comparison.over_queries(setting, name),
      "top": max(1.0, cell["optimistic"]),
    }
    for name, cell in setting.runs[0].result["metrics"].items()
  ]


def _fields(runs: Sequence[RunFiles]) -> list[dict[str, Any]]:
  """Return the rows of the configuration table."""
  names = sorted({name for run in runs for name in run.config})
  return [
    {"name": name, "values": [run.config.get(name, "") for run in runs]}
    for name in names
  ]


def _plain(value: Any) -> str:
  """Return a config value as text in which long words can break."""
  text = str(value) if value not in ("", [], None) else "–"
  return re.sub(r"([/,_])", "\\1\u200b", text)
