"""Cells, data, memory and time that a table needs."""

import collections
import dataclasses
import pathlib
import sys
import tempfile

from benchmarks import hardware
from benchmarks.tables import cells, prepare, processes, rates, runner
from dsh_jax import errors

_IMPORT_SECS = 5.0


@dataclasses.dataclass(frozen=True)
class _Sizes:
  train: int
  validation: int
  query: int
  database: int
  num_classes: int
  is_known: bool


def describe(table: cells.Table, workdir: pathlib.Path, num_jobs: int) -> str:
  """Return the plan of a table as text, after a short timing.

  The timing takes some steps of the first cell on random pictures, with the
  cores that one of `num_jobs` would have, and needs no data.

  Args:
    table: The table.
    workdir: Its folder; finished runs are not counted again.
    num_jobs: Runs at a time.

  Returns:
    Text of several lines.

  Raises:
    UserError: The first cell could not be built, or heads are trained on
      features, which this does not time.
  """
  if table.in_process:
    raise errors.UserError(
      "--dry_run does not time heads on features, as config.in_process of the"
      " table has them. Leave it out: they take seconds each."
    )
  listed, states = _list_cells(table, workdir)
  sizes = _sizes(table, workdir)
  cost = _measure(table, sizes.num_classes, num_jobs)
  secs = _secs_of_cell(sizes, cost)
  left = states[runner.WAITING] + states[runner.FAILED]
  side = cost["image_size"]
  num_images = sizes.train + sizes.validation + sizes.query + sizes.database
  counts = ", ".join(f"{count} {state}" for state, count in states.items())
  lines = [
    f"{table.title}: {sum(states.values())} runs ({counts})",
    *listed,
    "",
    "Data",
    *(f"  {line}" for line in table.downloads or ("nothing to fetch",)),
    f"  Archives: {cost['manual_dir'] or '(data.manual_dir is not set)'}",
    f"  Prepared: {cost['data_dir'] or '(the user cache, data.dir)'}",
    f"  {sizes.train} train, {sizes.validation} validation, {sizes.query}"
    f" query, {sizes.database} database"
    + ("" if sizes.is_known else " (expected; not prepared yet)"),
    f"  At most {num_images * side * side * 3 / 2**30:.1f} GiB on disk at"
    f" {side} x {side} pixels",
    "",
    "Memory",
    f"  {cost['host_bytes'] / 2**30:.1f} GiB of the host for a run,"
    f" {num_jobs * cost['host_bytes'] / 2**30:.1f} GiB for {num_jobs} at a"
    " time, besides what is memory-mapped",
  ]
  if cost["device_bytes"]:
    lines.append(f"  {cost['device_bytes'] / 2**30:.1f} GiB of a device")
  lines += [
    "",
    f"Time on {hardware.describe()}, {cost['device']}",
    f"  {cost['step_secs']:.2f} s a step of {cost['batch_size']} images,"
    f" {cost['encoded_per_sec']:.0f} images encoded a second, of"
    f" {(*table.grid, *table.wanted)[0].method}",
    f"  {_duration(secs)} a run, {_duration(left * secs / num_jobs)} for the"
    f" {left} runs that are left, {num_jobs} at a time, without making the"
    " data ready and without scoring",
  ]
  return "\n".join(lines)


def _list_cells(table, workdir):
  """Return lines of text, and the number of runs in each state."""
  states = collections.Counter()
  lines = []
  for run in table.grid:
    state = runner.state(workdir / run.folder, table.settings(run))
    states[state] += 1
    lines.append(f"  {run.title}: {state}, {run.folder}")
  for cell in table.wanted:
    grid = table.grid_of(cell.method)
    if any((r.bits, r.seed) == (cell.bits, cell.seed) for r in grid):
      lines.append(f"  {cell.title}: its run of the grid")
      continue
    rate = rates.choose(table, workdir, cell.method).rate if grid else None
    run = table.cell_at(cell, rate)
    state = runner.state(workdir / run.folder, table.settings(run))
    if grid and rate is None:
      state = runner.WAITING
    states[state] += 1
    lines.append(f"  {run.title}: {state}, {run.folder}")
  for method in table.reference_methods:
    lengths = ", ".join(map(str, table.reference_bits))
    lines.append(f"  {method}: {lengths} bits, without training")
  return lines, states


def _sizes(table, workdir):
  prepared = prepare.describe(workdir)
  if prepared:
    return _Sizes(
      **prepared["sizes"], num_classes=prepared["num_classes"], is_known=True
    )
  return _Sizes(**table.sizes, is_known=False)


def _measure(table, num_classes, num_jobs):
  with tempfile.TemporaryDirectory() as name:
    folder = pathlib.Path(name)
    settings = table.some_settings()
    command = [sys.executable, "-m", "benchmarks.tables.timing", *settings]
    command += [f"--workdir={folder}", f"--num_classes={num_classes}"]
    job = runner.Job("timing", command, settings, folder)
    # One of `num_jobs` slots, so that it has as many cores.
    processes.run([job], lambda job: job, num_jobs, lambda *_: None)
    if runner.state(folder, settings) != runner.DONE:
      raise errors.UserError(
        f"The first cell cannot be built: {runner.error_of(folder, settings)}"
      )
    return runner.read_json(folder / "result.json")


def _secs_of_cell(sizes, cost):
  steps = cost["num_epochs"] * (sizes.train // cost["batch_size"])
  validations = -(-cost["num_epochs"] // cost["validate_every_epochs"])
  encoded = validations * (sizes.validation + sizes.train)
  encoded += sizes.query + sizes.database
  return (
    _IMPORT_SECS
    + cost["start_secs"]
    + steps * cost["step_secs"]
    + encoded / cost["encoded_per_sec"]
  )


def _duration(secs):
  if secs < 120:
    return f"{secs:.0f} s"
  return f"{secs / 60:.0f} min" if secs < 7200 else f"{secs / 3600:.1f} h"
