"""The rows of a table: cells of one method and code length, over seeds."""

import dataclasses
import math
import pathlib
from typing import Any

import numpy as np

from benchmarks.tables import (
  cells,
  published,
  rates,
  records,
  references,
  runner,
)
from dsh_jax import errors
from dsh_jax.retrieval import significance

BEST, EQUAL = "best", "equal"


@dataclasses.dataclass(frozen=True)
class Score:
  """One metric of a row.

  Attributes:
    mean: Over seeds, ties in expectation.
    half_width: Of the 95 % t interval over seeds; nan for one seed.
    optimistic: Mean over seeds with ties in the best order.
    pessimistic: The same in the worst.
    chance: The metric when all codes are equal.
    mark: BEST of its code length, EQUAL if not significantly below the best,
      or "".
    printed: The published number; None if there is none.
  """

  mean: float
  half_width: float
  optimistic: float
  pessimistic: float
  chance: float
  mark: str = ""
  printed: published.Published | None = None


@dataclasses.dataclass(frozen=True)
class Row:
  """A method at a code length.

  Attributes:
    variant: Name of the settings that differ from the table's; "" for none.
    seeds: Finished seeds, in order.
    wanted: Number of seeds in the table's config.
    learning_rate: None for a preset's own, or a reference.
    is_preliminary: Whether missing grid runs could change the rate.
    is_reference: Whether it was not trained.
    scores: Metric -> score; {} while no seed is done.
    training_secs: Mean over seeds; nan for a reference.
    results: result.json of each seed.
  """

  method: str
  bits: int
  variant: str
  seeds: tuple[int, ...]
  wanted: int
  learning_rate: float | None
  is_preliminary: bool
  is_reference: bool
  scores: dict[str, Score]
  training_secs: float
  results: tuple[dict[str, Any], ...]


@dataclasses.dataclass(frozen=True)
class Contents:
  """The contents of a table.

  Attributes:
    rows: References first, then by code length and falling first metric.
    choices: Method -> outcome of its grid; {} without one.
    failures: (title, error, folder) of runs that have failed.
    num_done: Runs that are done.
    num_missing: Runs that are not done.
    num_runs: All runs, including those of the grid.
    elsewhere: Published rows of the protocol without a measured row.
    is_paired: Whether all cells have the same queries, as marks need.
    cell_infos: cell.json of each run that is done.
    records: (method, bits, variant) -> the runs of a row that are done.
  """

  rows: list[Row]
  choices: dict[str, rates.Choice]
  failures: list[tuple[str, str, str]]
  num_done: int
  num_missing: int
  num_runs: int
  elsewhere: list[published.Published]
  is_paired: bool
  cell_infos: list[dict[str, Any]]
  records: dict[tuple[str, int, str], list[records.Record]]


def collect(table: cells.Table, workdir: pathlib.Path) -> Contents:
  """Read the finished runs of a table."""
  methods = dict.fromkeys(cell.method for cell in table.wanted)
  choices = {}
  if table.grid:
    choices = {m: rates.choose(table, workdir, m) for m in methods}
  groups: dict[tuple[str, int, str], list[cells.Cell]] = {}
  for cell in table.wanted:
    key = cell.method, cell.bits, cell.variant
    groups.setdefault(key, []).append(cell)

  runs = dict.fromkeys(table.grid)
  runs |= {
    run: None
    for run in table.further
    if run.learning_rate in choices[run.method].states
  }
  found: dict[tuple[str, int, str], list[records.Record]] = {}
  used_rates, unreadable = {}, []
  for key, members in groups.items():
    rate = choices[key[0]].rate if choices else None
    used_rates[key] = table.learning_rate(table.cell_at(members[0], rate))
    found[key] = []
    for cell in members:
      cell = table.cell_at(cell, rate)
      runs[cell] = None
      folder = workdir / cell.folder
      if runner.state(folder, table.settings(cell)) == runner.DONE:
        try:
          found[key].append(records.read(folder, table.metrics))
        except errors.UserError as error:
          unreadable.append((cell.title, str(error), str(cell.folder)))

  queries = {
    record.query_ids.tobytes()
    for members in found.values()
    for record in members
    if record.query_ids is not None
  }
  is_paired = len(queries) <= 1
  marks = _marks(found, table.metrics) if is_paired else {}
  numbers = published.read(*table.published[:2])
  beside = {
    (row.method, row.bits, row.metric): row
    for row in numbers
    if row.backbone == table.published[2]
  }

  def make_row(method, bits, variant, members, **facts):
    scores = {}
    if members:
      for metric in table.metrics:
        score = _score(members, metric)
        scores[metric] = dataclasses.replace(
          score,
          mark=marks.get((method, bits, variant, metric), ""),
          printed=None if variant else beside.get((method, bits, metric)),
        )
    secs = [r.result.get("seconds", {}).get("training") for r in members]
    secs = [s for s in secs if s is not None]
    return Row(
      method=method,
      bits=bits,
      variant=variant,
      seeds=tuple(r.result["seed"] for r in members),
      scores=scores,
      training_secs=float(np.mean(secs)) if secs else math.nan,
      results=tuple(r.result for r in members),
      **facts,
    )

  rows = []
  for bits, method, folder in records.references_done(table, workdir):
    rows.append(
      make_row(
        method,
        bits,
        "",
        [records.read(folder, table.metrics)],
        wanted=1,
        learning_rate=None,
        is_preliminary=False,
        is_reference=True,
      )
    )
  trained = [
    make_row(
      *key,
      members,
      wanted=len(groups[key]),
      learning_rate=used_rates[key],
      is_preliminary=bool(choices) and not choices[key[0]].is_final,
      is_reference=False,
    )
    for key, members in found.items()
  ]
  trained.sort(key=lambda row: _order(row, table.metrics[0]))
  rows += trained

  shown = {
    (row.method, row.bits, metric) for row in trained for metric in row.scores
  }
  states = {
    cell: runner.state(workdir / cell.folder, table.settings(cell))
    for cell in runs
  }
  failures = [
    (
      cell.title,
      runner.error_of(workdir / cell.folder, table.settings(cell)),
      str(cell.folder),
    )
    for cell, state in states.items()
    if state in (runner.FAILED, runner.OTHER)
  ]
  failures += [*unreadable, *references.failures(table, workdir)]
  done = [cell for cell, state in states.items() if state == runner.DONE]
  return Contents(
    rows=rows,
    choices=choices,
    failures=failures,
    num_done=len(done),
    num_missing=list(states.values()).count(runner.WAITING),
    num_runs=len(runs),
    elsewhere=[
      row
      for row in numbers
      if row.backbone != table.published[2]
      or (row.method, row.bits, row.metric) not in shown
    ],
    is_paired=is_paired,
    cell_infos=[
      runner.read_json(workdir / cell.folder / "cell.json") for cell in done
    ],
    records=found,
  )


def _order(row, metric):
  mean = row.scores[metric].mean if row.scores else -math.inf
  return row.bits, row.variant, -mean, row.method


def _score(members, metric):
  values = [record.scores[metric] for record in members]
  mean, half_width = significance.t_interval([v["expected"] for v in values])

  def average(name):
    return float(np.mean([v.get(name, math.nan) for v in values]))

  return Score(
    mean=mean,
    half_width=half_width,
    optimistic=average("optimistic"),
    pessimistic=average("pessimistic"),
    chance=average("chance"),
  )


def _marks(found, metrics):
  """Return (method, bits, variant, metric) -> BEST or EQUAL."""
  marks = {}
  for block in dict.fromkeys(key[1:] for key in found):
    at_bits = {m: r for (m, *b), r in found.items() if tuple(b) == block and r}
    for metric in metrics if at_bits else ():
      scores = {
        method: np.stack([r.per_query[metric] for r in members])
        for method, members in at_bits.items()
      }
      best, equal = significance.best_and_equal(scores)
      marks |= {(method, *block, metric): EQUAL for method in equal}
      marks[best, *block, metric] = BEST
  return marks
