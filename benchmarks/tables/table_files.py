"""A table as CSV, for programs, and as LaTeX, for papers."""

import csv
import io
import math

from benchmarks.tables import cells, rows, table_lines, table_text

_TEX = {"_": r"\_", "%": r"\%", "&": r"\&", "#": r"\#", "$": r"\$"}


def to_csv(contents: rows.Contents) -> str:
  """Return one line a row and metric; nan and None are empty."""
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
  """Return one tabular a code length; needs the package booktabs."""
  parts = ["% Needs \\usepackage{booktabs}."]
  for block in dict.fromkeys((r.bits, r.variant) for r in contents.rows):
    lines = [
      rf"% {_escape(table.title)}, {table_text.block_title(*block)}",
      rf"\begin{{tabular}}{{l{'c' * len(table.metrics)}}}",
      r"\toprule",
      " & ".join(["method", *map(_escape_metric, table.metrics)]) + r" \\",
      r"\midrule",
    ]
    members = [
      row
      for row in contents.rows
      if (row.bits, row.variant) == block and row.scores
    ]
    for previous, row in zip([None, *members], members, strict=False):
      if previous and previous.is_reference and not row.is_reference:
        lines.append(r"\midrule")
      name = _escape(table_text.name_of(row)).replace("†", r"$^\dagger$")
      scores = [_tex_score(row.scores[metric]) for metric in table.metrics]
      lines.append(" & ".join([name, *scores]) + r" \\")
    parts.append("\n".join([*lines, r"\bottomrule", r"\end{tabular}"]))
  return "\n\n".join(parts) + "\n"


def _number(value):
  return "" if math.isnan(value) else f"{value:.6g}"


def _escape(text):
  return "".join(_TEX.get(letter, letter) for letter in text)


def _escape_metric(name):
  return _escape(name).replace("<=", r"$\leq$")


def _tex_score(score):
  if math.isnan(score.mean):
    return ""
  mean = f"{score.mean:.3f}"
  if score.mark == rows.BEST:
    mean = rf"\textbf{{{mean}}}"
  if not math.isnan(score.half_width):
    mean += rf" {{\scriptsize $\pm${score.half_width:.3f}}}"
  return mean + ("$^*$" if score.mark == rows.EQUAL else "")
