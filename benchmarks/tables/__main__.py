"""Trains and evaluates the cells of a table, and writes the table.

python -m benchmarks.tables --config=configs/tables/digits.py --workdir=DIR

A cell is a method at a code length with a seed, in its own folder. Finished
cells are kept, a failed cell is reported while the others continue, and an
interrupted table resumes. Written to the workdir: table.md, table.csv,
table.tex and table.png, for all finished cells.

One process runs all cells, or with --shard=I/N those of every N-th method,
next to others with the same workdir: on a CPU, one for each core,

  taskset -c 0 python -m benchmarks.tables ... --shard=0/2 &
  taskset -c 1 python -m benchmarks.tables ... --shard=1/2

or the tasks of a job array.
"""

import pathlib
from collections.abc import Sequence

from absl import flags
from ml_collections import config_flags

from benchmarks.tables import (
  cells,
  in_process,
  prepare,
  processes,
  references,
  runner,
  schedule,
  sweeps,
)
from dsh_jax import errors
from dsh_jax.apps import command

_CONFIG = config_flags.DEFINE_config_file(
  "config", None, "A file of configs/tables."
)
_WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the table.")
_JOBS = flags.DEFINE_integer(
  "jobs",
  0,
  "Runs at a time, each a process with its share of the cores; 0: one after"
  " another in this process.",
  lower_bound=0,
)
_SHARD = flags.DEFINE_string(
  "shard",
  "0/1",
  "I/N: the cells of every N-th method, from I; with more shards than methods,"
  " every N-th cell.",
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
  "cell_timeout_secs",
  0,
  "With --jobs, a cell that takes longer has failed; 0: no limit.",
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
      return  # Finished before.
    line = f"[{self._ended}/{self._total}] {job.title}: {state}"
    if state == runner.DONE:
      self._secs.append(secs)
    else:
      line += f", {runner.error_of(job.folder, job.settings)}"
    line += f", {secs:.0f} s"
    if self._secs:
      mean = sum(self._secs) / len(self._secs)
      left = (self._total - self._ended) * mean / max(1, self._num_jobs)
      line += f", about {left / 3600:.1f} h left"
    print(line, flush=True)


def run_table(
  table: cells.Table,
  workdir: pathlib.Path,
  num_jobs: int,
  timeout_secs: float = 0,
  shard: str = "0/1",
) -> int:
  """Run what is not done; return the number of runs without a result."""
  index, num_shards = schedule.parse_shard(shard)
  queue = schedule.Queue(table, workdir)
  name = "lock" if num_shards == 1 else f"lock-{index}-of-{num_shards}"
  with runner.only_one(workdir, name):
    if index == 0:
      runner.forget_failures(workdir)
      references.refresh(table, workdir)
      prepare.run(table, workdir)
    items = queue.items(index, num_shards)
    num_likely = sum(item not in table.further for item in items)
    progress = _Progress(num_likely, num_jobs)
    swept = []
    if table.in_process:
      swept = [item for item in items if item is not references]
      items = [item for item in items if item is references]
    if num_jobs:
      processes.run(items, queue.make_job, num_jobs, progress, timeout_secs)
    else:
      in_process.run(items, queue.make_job, progress)
    if table.in_process:
      sweeps.run(table, swept, progress, queue.make_job)
  return progress.num_failed


def _run(argv: Sequence[str]) -> int:
  """Run the command; return 1 if a run has failed, else 0."""
  command.parse(argv, description=__doc__)
  config = cells.config_of(_CONFIG, "configs/tables/digits.py")
  if not _WORKDIR.value:
    raise errors.UserError("No folder was given. Give one by --workdir=DIR.")
  workdir = pathlib.Path(_WORKDIR.value)
  table = cells.make_table(config, _OVERRIDE.value)
  if _DRY_RUN.value:
    from benchmarks.tables import estimate

    print(estimate.describe(table, workdir, max(1, _JOBS.value)))
    return 0
  num_failed = 0
  try:
    if not _REPORT_ONLY.value:
      num_failed = run_table(
        table, workdir, _JOBS.value, _TIMEOUT.value, _SHARD.value
      )
  finally:
    # Imports JAX: not before the runs, which are forked from this process.
    from benchmarks.tables import table_report

    print(f"The table is in {table_report.write(table, workdir)}.")
  return 1 if num_failed else 0


if __name__ == "__main__":
  command.run(_run)
