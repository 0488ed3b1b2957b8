"""A comparison as CSV and as LaTeX."""

import csv
import io
import math
from collections.abc import Sequence

from dsh_jax.report import comparison, latex
from dsh_jax.report.comparison import Block

_TIES = ("expected", "pessimistic", "optimistic", "chance")


def to_csv(blocks: Sequence[Block]) -> str:
  """Return one line per run and metric, and per baseline and metric.

  Runs of equal `comparable` may be compared; `over_queries` is the half-width
  of the 95 % interval over queries.
  """
  buffer = io.StringIO()
  writer = csv.writer(buffer, lineterminator="\n")
  about = ("method", "bits", "seed", "dataset", "protocol")
  writer.writerow(
    ["run", "setting", "comparable", *about, "metric", *_TIES, "over_queries"]
  )
  for number, block in enumerate(blocks, 1):
    for setting in block.settings:
      for run in setting.runs:
        one = comparison.Setting(run.name, 0, (run,))
        facts = [run.name, setting.name, number]
        facts += [run.result[name] for name in about]
        for metric, scores in run.result["metrics"].items():
          width = comparison.over_queries(one, metric)
          writer.writerow(
            [*facts, metric, *(f"{scores[name]:.6g}" for name in _TIES)]
            + ["" if math.isnan(width) else f"{width:.6g}"]
          )
    for name, scores in block.untrained.items():
      facts = ["", name, number, "", "", ""]
      facts += [block.runs[0].result[field] for field in about[-2:]]
      for metric, score in scores.items():
        writer.writerow([*facts, metric, f"{score:.6g}", *[""] * 4])
  return buffer.getvalue()


def to_tex(blocks: Sequence[Block]) -> str:
  """Return one tabular per block.

  ± is the 95 % interval over seeds, or over queries for a single seed.
  """
  parts = [
    latex.NEEDS,
    "% Bold: best. Star: not significantly below the best (5 % level).",
  ]
  for block in blocks:
    rows = []
    for setting, cells in block.table:
      scores = [
        latex.score(
          cell.mean,
          cell.over_queries if math.isnan(cell.over_seeds) else cell.over_seeds,
          cell.mark,
        )
        for cell in cells.values()
      ]
      rows.append([latex.escape(setting.name), *scores])
    rows.append([])
    for name, found in block.untrained.items():
      scores = [
        latex.score(found.get(metric, math.nan), math.nan, "")
        for metric in block.metrics
      ]
      rows.append([latex.escape(name), *scores])
    parts.append(latex.tabular(block.name, ["run", *block.metrics], rows))
  return "\n\n".join(parts) + "\n"
