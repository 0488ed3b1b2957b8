"""The order of a table's cells, and their division among processes."""

import pathlib

from benchmarks.tables import cells, rates, references, runner
from dsh_jax import errors


class Queue:
  """Turns cells of a table into jobs, once their learning rate is known."""

  def __init__(self, table: cells.Table, workdir: pathlib.Path):
    """Keep the table and its folder."""
    self._table = table
    self._workdir = workdir

  def items(self, shard: int, num_shards: int) -> list[object]:
    """Return the items of a shard, in order: cells, or `references`.

    Args:
      shard: Its number, from 0.
      num_shards: Number of shards. They divide the methods, or the cells if
        there are more shards than methods.
    """
    table = self._table
    every = [*table.grid, *table.further, *table.wanted]
    methods = list(dict.fromkeys(cell.method for cell in table.wanted))
    if num_shards > len(methods):
      mine = every[shard::num_shards]
    else:  # One process needs a method's compiled programs and its rate.
      taken = set(methods[shard::num_shards])
      mine = [cell for cell in every if cell.method in taken]
    if table.reference_methods and shard == 0:
      return [references, *mine]
    return mine

  def make_job(self, item) -> runner.Job | str | None:
    """Return the job of an item; None while its grid is unfinished.

    A further run of the grid that is not needed gives runner.NOT_NEEDED.
    """
    table, workdir = self._table, self._workdir
    if item is references:
      return references.make_job(table, workdir)
    if item in table.further:
      needed = rates.needed(table, workdir, item)
      if needed is None:
        return None
      return self._job(item) if needed else runner.NOT_NEEDED
    if not item.in_grid and table.grid:
      choice = rates.choose(table, workdir, item.method)
      if not choice.is_final:
        return None
      if choice.rate is None:
        return self._job(table.grid_of(item.method)[0])
      item = table.cell_at(item, choice.rate)
    return self._job(item)

  def _job(self, cell):
    folder = self._workdir / cell.folder
    return runner.Job(
      title=cell.title,
      command=self._table.command(cell, folder),
      settings=self._table.settings(cell),
      folder=folder,
    )


def parse_shard(text: str) -> tuple[int, int]:
  """Return I and N of "I/N".

  Raises:
    UserError: It is not of that form, or I is not below N.
  """
  index, _, count = text.partition("/")
  if not (index.isdecimal() and count.isdecimal() and int(index) < int(count)):
    raise errors.UserError(
      f"--shard is {text!r}; it must be I/N with I from 0 to N - 1, such as"
      " 0/2."
    )
  return int(index), int(count)
