"""A table as CSV, for programs, and as LaTeX, for papers."""

import csv
import io
import math

from benchmarks.tables import cells, rows, table_lines, table_text
from dsh_jax.report import latex


def to_csv(contents: rows.Contents) -> str:
  """Return one line per row and metric; nan and None are empty."""
  buffer = io.StringIO()
  writer = csv.writer(buffer, lineterminator="\n")
  writer.writerow(
    [
      "method",
      "bits",
      "variant",
      "metric",
      "mean",
      "half_width_95",
      "seeds",
      "chance",
      "pessimistic",
      "optimistic",
      "mark",
      "published",
      "source",
      "learning_rate",
      "is_preliminary",
      "is_reference",
      "select",
      "training_secs",
    ]
  )
  for row in contents.rows:
    for metric, score in row.scores.items():
      found = score.printed
      writer.writerow(
        [
          row.method,
          row.bits,
          row.variant,
          metric,
          _number(score.mean),
          _number(score.half_width),
          " ".join(map(str, row.seeds)),
          _number(score.chance),
          _number(score.pessimistic),
          _number(score.optimistic),
          score.mark,
          found.value if found else "",
          found.source if found else "",
          "" if row.learning_rate is None else row.learning_rate,
          int(row.is_preliminary),
          int(row.is_reference),
          " ".join(table_lines.distinct(r.get("select") for r in row.results)),
          _number(row.training_secs),
        ]
      )
  return buffer.getvalue()


def to_tex(table: cells.Table, contents: rows.Contents) -> str:
  """Return one tabular per code length; needs the package booktabs."""
  parts = [latex.NEEDS]
  for block in dict.fromkeys((r.bits, r.variant) for r in contents.rows):
    members = [
      row
      for row in contents.rows
      if (row.bits, row.variant) == block and row.scores
    ]
    lines = []
    for previous, row in zip([None, *members], members, strict=False):
      if previous and previous.is_reference and not row.is_reference:
        lines.append([])
      name = latex.escape(table_text.name_of(row))
      scores = [row.scores[metric] for metric in table.metrics]
      lines.append(
        [name.replace("†", r"$^\dagger$")]
        + [latex.score(s.mean, s.half_width, s.mark) for s in scores]
      )
    title = f"{table.title}, {table_text.block_title(*block)}"
    parts.append(latex.tabular(title, ["method", *table.metrics], lines))
  return "\n\n".join(parts) + "\n"


def _number(value):
  return "" if math.isnan(value) else f"{value:.6g}"
