"""A table as Markdown: scores, then all that is needed to read them."""

import math

from benchmarks.tables import (
  cells,
  published,
  rates,
  rows,
  runner,
  table_facts,
  table_lines,
)

_MARKS = {rows.BEST: "**{}**", rows.EQUAL: "{} *", "": "{}"}


def markdown(table: cells.Table, contents: rows.Contents) -> str:
  """Return the text of table.md."""
  parts = [f"# {table.title}", _progress(contents)]
  parts += _score_tables(table, contents)
  parts += [_legend(contents)]
  parts += _grid(table, contents)
  parts += _metric_tables(table, contents)
  parts += _elsewhere(contents)
  parts += _failures(contents)
  parts += table_facts.made(table, contents)
  return "\n\n".join(part for part in parts if part) + "\n"


def format_score(score: rows.Score) -> str:
  """Return "mean ± half-width", the latter for two seeds or more."""
  if math.isnan(score.mean):
    return ""
  if math.isnan(score.half_width):
    return f"{score.mean:.3f}"
  return f"{score.mean:.3f} ± {score.half_width:.3f}"


def format_rate(row: rows.Row) -> str:
  """Return the learning rate; "~" before one that may still change."""
  if row.is_reference:
    return ""
  if row.learning_rate is None:
    return "preset"
  return ("~" if row.is_preliminary else "") + f"{row.learning_rate:g}"


def name_of(row: rows.Row) -> str:
  """Return the method's name, with a dagger if test queries chose its epoch."""
  chosen_on_test = any(r.get("select") == "test_best" for r in row.results)
  return row.method + (" †" if chosen_on_test else "")


def block_title(bits: int, variant: str) -> str:
  """Return the heading of rows that are compared with each other."""
  return f"{bits} bits" + (f", {variant.replace('_', ' ')}" if variant else "")


def _progress(contents):
  text = f"{contents.num_done} of {contents.num_runs} runs are done"
  if contents.failures:
    text += f", {len(contents.failures)} have failed"
  if contents.num_missing:
    text += "; the table is not complete"
  return text + "."


def _score_tables(table, contents):
  for block in dict.fromkeys((r.bits, r.variant) for r in contents.rows):
    lines = []
    for row in contents.rows:
      if (row.bits, row.variant) != block:
        continue
      scores = [
        _MARKS[row.scores[m].mark].format(format_score(row.scores[m]))
        if row.scores
        else "no run done"
        for m in table.metrics
      ]
      seeds = "" if row.is_reference else f"{len(row.seeds)}/{row.wanted}"
      name = f"_{row.method}_" if row.is_reference else name_of(row)
      lines.append([name, format_rate(row), seeds, *scores])
    head = ["method", "rate", "seeds", *table.metrics]
    yield f"## {block_title(*block)}\n\n{table_lines.grid_lines(head, lines)}"


def _legend(contents):
  lines = [
    "Mean over seeds ± half of the 95 % interval of Student's t; ties in a"
    " ranking are counted in expectation over all their orders.",
    "_Slanted_ methods are references without training."
    if any(row.is_reference for row in contents.rows)
    else "",
    "**Bold** is the best trained method of its block. * marks those that"
    f" cannot be told from it: {_how_compared(contents)}"
    if contents.is_paired
    else "Methods are not compared: their cells do not have the same queries.",
    "† The epoch was chosen on the test queries, which raises the score."
    if any("†" in name_of(row) for row in contents.rows)
    else "",
    "~ The learning rate may still change: its grid is not complete."
    if any(row.is_preliminary for row in contents.rows)
    else "",
  ]
  return " ".join(line for line in lines if line)


def _how_compared(contents):
  trained = [row for row in contents.rows if not row.is_reference and row.seeds]
  if min((len(row.seeds) for row in trained), default=1) > 1:
    return (
      "p >= 0.05 for the difference over seeds and queries together (both"
      " taken as draws: Clark's min F'), after Holm's correction for the"
      " comparisons with the best."
    )
  return (
    "in a block where a method has one seed, the 95 %"
    " interval of the paired bootstrap over queries (10,000 draws, scores"
    " averaged over the seeds done) of the difference holds 0, which knows"
    " neither how seeds vary nor the number of methods; in other blocks p >="
    " 0.05 over seeds and queries together (Clark's min F'), after Holm's"
    " correction for the comparisons with the best."
  )


def _grid(table, contents):
  if not contents.choices:
    return
  runs = table.grid
  steps = sorted({r for c in contents.choices.values() for r in c.states})
  lines = []
  for method, choice in contents.choices.items():
    cells_of_line = [method]
    for rate in steps:
      text = _outcome(choice, rate)
      cells_of_line.append(f"**{text}**" if rate == choice.rate else text)
    lines.append(cells_of_line)
  yield (
    "## Learning rates\n\n"
    f"{table.grid_metric} of validation queries, at {runs[0].bits} bits with"
    f" seed {runs[0].seed}, of the epoch that they chose; **bold** is the rate"
    " that all rows of the method use."
    + _reported_seed(table)
    + "\n\n"
    + table_lines.grid_lines(
      ["method", *(f"{rate:g}" for rate in steps)], lines
    )
  )
  edges = [m for m, choice in contents.choices.items() if choice.is_at_edge]
  if edges:
    yield f"Best at the lowest or highest rate tried: {', '.join(edges)}."


def _reported_seed(table):
  run = table.grid[0]
  if any((c.seed, c.bits) == (run.seed, run.bits) for c in table.wanted):
    return f" The run of that rate is the row's seed {run.seed}."
  return f" No row has seed {run.seed}."


def _outcome(choice: rates.Choice, rate: float) -> str:
  if rate in choice.scores:
    return f"{choice.scores[rate]:.4f}"
  if rate not in choice.states:
    return ""
  state = choice.states[rate]
  return "not finite" if state == runner.DONE else state


def _metric_tables(table, contents):
  for metric in table.metrics:
    lines = []
    for row in contents.rows:
      if not row.scores:
        continue
      score = row.scores[metric]
      if math.isnan(score.mean):
        continue
      found = score.printed
      lines.append(
        [
          name_of(row),
          row.bits,
          row.variant,
          _MARKS[score.mark].format(format_score(score)),
          f"{score.chance:.3f}",
          f"{score.pessimistic:.3f} to {score.optimistic:.3f}",
          *((f"{found.value:.3f}", _source(found)) if found else ("", "")),
        ]
      )
    head = ["method", "bits", "variant", "measured", "chance", "ties"]
    head += ["published"]
    if lines:
      yield f"## {metric}\n\n{table_lines.grid_lines([*head, 'source'], lines)}"
  if contents.rows:
    yield (
      "Chance is the metric when all codes are equal. Ties: with the items of"
      " equal distance in their worst and in their best order; a ranking that"
      " breaks ties otherwise lies between. Published numbers leave ties in"
      " whatever order their code did."
    )


def _source(found: published.Published) -> str:
  return f"{found.source} ({found.how})"


def _elsewhere(contents):
  if contents.elsewhere:
    head = ["method", "backbone", "bits", "metric", "published", "source"]
    lines = [
      [r.method, r.backbone, r.bits, r.metric, f"{r.value:.3f}", _source(r)]
      for r in contents.elsewhere
    ]
    yield (
      "## Published with this protocol, not measured here\n\n"
      + table_lines.grid_lines(head, lines)
    )


def _failures(contents):
  if contents.failures:
    head = ["run", "error", "folder"]
    yield f"## Failed\n\n{table_lines.grid_lines(head, contents.failures)}"
