"""Trains and evaluates the cells of a table, and writes the table.

python -m benchmarks.tables --config=configs/tables/digits.py --workdir=DIR

A cell is a method at a code length with a seed, in a folder of its own. Cells
that are done are left as they are, a cell that fails is reported and the
others go on, and a table that was ended goes on where it stopped. Written to
the workdir: table.md, table.csv, table.tex and table.png, of whatever is done.
"""

import pathlib
from collections.abc import Sequence

from absl import flags
from ml_collections import config_flags

from benchmarks.tables import (
  cells,
  prepare,
  rates,
  references,
  runner,
  sweeps,
)
from dsh_jax import errors
from dsh_jax.apps import command

_CONFIG = config_flags.DEFINE_config_file(
  "config", None, "A file of configs/tables."
)
_WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the table.")
_JOBS = flags.DEFINE_integer(
  "jobs", 1, "Runs at a time, each with its share of the cores.", lower_bound=1
)
_OVERRIDE = flags.DEFINE_multi_string(
  "override", [], "PATH=VALUE, a config field of all cells; may be repeated."
)
_DRY_RUN = flags.DEFINE_boolean(
  "dry_run", False, "List cells, data, memory and estimated time; run none."
)
_REPORT_ONLY = flags.DEFINE_boolean(
  "report_only", False, "Write the table of what is done; run nothing."
)
_TIMEOUT = flags.DEFINE_float(
  "cell_timeout_secs", 0, "A cell that takes longer has failed; 0: no limit."
)


class _Queue:
  """Turns the table's cells into jobs, when their learning rate is known."""

  def __init__(self, table: cells.Table, workdir: pathlib.Path):
    self._table = table
    self._workdir = workdir

  def items(self) -> list[object]:
    """Returns what is to be run, in order."""
    first = [references] if self._table.reference_methods else []
    return [*first, *self._table.grid, *self._table.wanted]

  def make_job(self, item) -> runner.Job | None:
    """Returns the job of an item; None while its grid is not through."""
    if item is references:
      return references.make_job(self._table, self._workdir)
    if not item.in_grid and self._table.grid:
      choice = rates.choose(self._table, self._workdir, item.method)
      if not choice.is_final:
        return None
      if choice.rate is None:
        return self._job(self._table.grid_of(item.method)[0])
      item = self._table.cell_at(item, choice.rate)
    return self._job(item)

  def _job(self, cell):
    folder = self._workdir / cell.folder
    return runner.Job(
      title=cell.title,
      command=self._table.command(cell, folder),
      settings=self._table.settings(cell),
      folder=folder,
    )


class _Progress:
  """One line for each run that ends, with the time that is left."""

  def __init__(self, total: int, num_jobs: int):
    self._total = total
    self._num_jobs = num_jobs
    self._ended = 0
    self._secs: list[float] = []
    self.num_failed = 0

  def __call__(self, job: runner.Job, state: str, secs: float) -> None:
    self._ended += 1
    if state != runner.DONE:
      self.num_failed += 1
    if state == runner.DONE and secs == 0:
      return  # It was done before.
    line = f"[{self._ended}/{self._total}] {job.title}: {state}"
    if state == runner.DONE:
      self._secs.append(secs)
    else:
      line += f", {runner.error_of(job.folder, job.settings)}"
    line += f", {secs:.0f} s"
    if self._secs:
      mean = sum(self._secs) / len(self._secs)
      left = (self._total - self._ended) * mean / self._num_jobs
      line += f", about {left / 3600:.1f} h left"
    print(line, flush=True)


def run_table(
  table: cells.Table,
  workdir: pathlib.Path,
  num_jobs: int,
  timeout_secs: float = 0,
) -> int:
  """Runs what is not done yet; returns the number of runs without result."""
  queue = _Queue(table, workdir)
  with runner.only_one(workdir):
    runner.forget_failures(workdir)
    references.refresh(table, workdir)
    prepare.run(table, workdir)
    items = queue.items()
    progress = _Progress(len(items), num_jobs)
    if table.in_process:
      items = [item for item in items if item is references]
    runner.run(items, queue.make_job, num_jobs, progress, timeout_secs)
    if table.in_process:
      sweeps.run(table, workdir, progress, queue.make_job)
  return progress.num_failed


def _run(argv: Sequence[str]) -> int:
  """Does what the flags say; returns 1 if a run has failed, else 0."""
  command.parse(argv, description=__doc__)
  config = cells.config_of(_CONFIG, "configs/tables/digits.py")
  if not _WORKDIR.value:
    raise errors.UserError("No folder was given. Give one by --workdir=DIR.")
  workdir = pathlib.Path(_WORKDIR.value)
  table = cells.make_table(config, _OVERRIDE.value)
  if _DRY_RUN.value:
    from benchmarks.tables import estimate

    print(estimate.describe(table, workdir, _JOBS.value))
    return 0
  num_failed = 0
  try:
    if not _REPORT_ONLY.value:
      num_failed = run_table(table, workdir, _JOBS.value, _TIMEOUT.value)
  finally:
    # Imports JAX: not before the runs, which are forked from this process.
    from benchmarks.tables import table_report

    print(f"The table is in {table_report.write(table, workdir)}.")
  return 1 if num_failed else 0


if __name__ == "__main__":
  command.run(_run)
