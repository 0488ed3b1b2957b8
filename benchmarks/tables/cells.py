"""The cells of a table: its runs, and the command of each."""

import dataclasses
import itertools
import pathlib
import sys
from collections.abc import Sequence
from typing import Any

import ml_collections
from absl import flags

from dsh_jax import errors

_METHODS_FIELD = "cells of the table config"


@dataclasses.dataclass(frozen=True)
class Cell:
  """One training run.

  Attributes:
    method: A preset of configs/methods.py.
    bits: K.
    seed: config.seed.
    learning_rate: config.optimizer.learning_rate; None is the preset's.
    in_grid: Whether it is one of the runs that choose the learning rate.
    variant: Name of `overrides`; "" without them.
    overrides: "path=value" of further config fields.
    arguments: Replace the table's; None keeps the table's.
  """

  method: str
  bits: int
  seed: int
  learning_rate: float | None = None
  in_grid: bool = False
  variant: str = ""
  overrides: tuple[str, ...] = ()
  arguments: str | None = None

  @property
  def folder(self) -> pathlib.PurePosixPath:
    """The cell's workdir inside the table's."""
    name = f"{self.bits}bits_seed{self.seed}"
    if self.variant:
      name += f"_{self.variant}"
    if self.in_grid:
      name += f"_lr{self.learning_rate:g}"
    top = "grid" if self.in_grid else "cells"
    return pathlib.PurePosixPath(top) / self.method / name

  @property
  def title(self) -> str:
    """One phrase for the log."""
    text = f"{self.method} {self.bits} bits seed {self.seed}"
    if self.variant:
      text += f" {self.variant}"
    if self.learning_rate is not None:
      text += f" rate {self.learning_rate:g}"
    return text


@dataclasses.dataclass(frozen=True)
class Table:
  """A checked table config; the fields are those of configs/tables/default.py.

  Attributes:
    wanted: Cells in the order in which they are run, without learning rates.
    grid: Runs that choose the learning rate, in order; () without a grid.
    further: Runs that extend `grid` if the best rate lies at its edge.
  """

  title: str
  config: str
  arguments: str
  in_process: bool
  overrides: tuple[str, ...]
  method_overrides: dict[str, tuple[str, ...]]
  metrics: tuple[str, ...]
  reference_methods: tuple[str, ...]
  reference_bits: tuple[int, ...]
  grid_metric: str
  published: tuple[str, str, str]
  downloads: tuple[str, ...]
  notes: tuple[str, ...]
  claims: tuple[tuple[str, str], ...]
  claims_by_labels: tuple[tuple[str, str], ...]
  sizes: dict[str, int]
  wanted: tuple[Cell, ...]
  grid: tuple[Cell, ...]
  further: tuple[Cell, ...]

  def grid_of(self, method: str) -> list[Cell]:
    """Return the grid runs of one method, without the further ones."""
    return [cell for cell in self.grid if cell.method == method]

  def further_of(self, method: str) -> list[Cell]:
    """Return the further grid runs of one method."""
    return [cell for cell in self.further if cell.method == method]

  def cell_at(self, cell: Cell, learning_rate: float | None) -> Cell:
    """Return the run of `cell` at the chosen learning rate.

    A grid run with the same bits and seed is reused.
    """
    for run in (*self.grid_of(cell.method), *self.further_of(cell.method)):
      same = (run.bits, run.seed) == (cell.bits, cell.seed)
      if same and run.learning_rate == learning_rate and not cell.variant:
        return run
    return dataclasses.replace(cell, learning_rate=learning_rate)

  def settings(self, cell: Cell) -> list[str]:
    """Return the flags of `dsh_jax.main` for the cell."""
    arguments = [f"method={cell.method}", f"bits={cell.bits}"]
    shared = self.arguments if cell.arguments is None else cell.arguments
    if shared:
      arguments.append(shared)
    flags = [
      f"--config={self.config}:{','.join(arguments)}",
      f"--config.seed={cell.seed}",
    ]
    if cell.learning_rate is not None:
      flags.append(f"--config.optimizer.learning_rate={cell.learning_rate:g}")
    overrides = (
      *self.overrides,
      *self.method_overrides.get(cell.method, ()),
      *cell.overrides,
    )
    return flags + [f"--config.{override}" for override in overrides]

  def learning_rate(self, cell: Cell) -> float | None:
    """Return the rate that the table sets for a cell; None for the preset's."""
    start = "--config.optimizer.learning_rate="
    rates = [x for x in self.settings(cell) if x.startswith(start)]
    return float(rates[-1].removeprefix(start)) if rates else None

  def command(self, cell: Cell, workdir: pathlib.Path) -> list[str]:
    """Return the command that trains and evaluates the cell."""
    flags = [f"--workdir={workdir}", "--noreport", *self.settings(cell)]
    return [sys.executable, "-m", "dsh_jax.main", *flags]

  def some_settings(self) -> list[str]:
    """Return the flags of the first cell, for what all cells share."""
    return self.settings((*self.grid, *self.wanted)[0])


def make_table(
  config: ml_collections.ConfigDict, overrides: Sequence[str] = ()
) -> Table:
  """Check a table config and list its cells in the order of running.

  Groups are in the order of the config, and seeds in order within a group, so
  every method has a row before any has a second seed.

  Args:
    config: Fields as in configs/tables/default.py.
    overrides: Further "path=value", after those of the config.

  Returns:
    The table.

  Raises:
    UserError: A field is missing, empty or of the wrong form.
  """
  cells = {}
  for group in map(_group, config.cells):
    for seed, bits, method in itertools.product(
      group["seeds"], group["bits"], group["methods"]
    ):
      cell = Cell(
        method=method,
        bits=int(bits),
        seed=int(seed),
        variant=group["variant"],
        overrides=tuple(group["overrides"]),
        arguments=group.get("arguments"),
      )
      cells[cell] = None
  if not cells:
    raise errors.UserError("The table has no cells; give config.cells.")
  wanted = tuple(cells)
  metrics = tuple(config.metrics)
  if not metrics:
    raise errors.UserError(
      "config.metrics of the table is empty; name at least one metric, such"
      " as 'ndcg@100'."
    )
  of_methods = {
    method: tuple(values) for method, values in config.method_overrides.items()
  }
  shared = (*config.overrides, *overrides)
  every = itertools.chain(
    shared, *of_methods.values(), *(cell.overrides for cell in wanted)
  )
  for override in every:
    if "=" not in override or override.startswith("-"):
      raise errors.UserError(
        f"The override {override!r} is not of the form PATH=VALUE, such as"
        " train.num_epochs=5; change config.overrides or --override."
      )
  grid, further = (
    tuple(
      Cell(
        method=method,
        bits=config.grid.bits,
        seed=config.grid.seed,
        learning_rate=float(rate),
        in_grid=True,
      )
      for rate in rates
      for method in dict.fromkeys(cell.method for cell in wanted)
    )
    for rates in (config.grid.learning_rates, config.grid.further_rates)
  )
  published = config.published
  return Table(
    title=config.title,
    config=config.config,
    arguments=config.arguments,
    in_process=config.in_process,
    overrides=shared,
    method_overrides=of_methods,
    metrics=metrics,
    reference_methods=tuple(config.references.methods),
    reference_bits=tuple(config.references.bits)
    or tuple(dict.fromkeys(cell.bits for cell in wanted)),
    grid_metric=config.grid.metric,
    published=(published.dataset, published.protocol, published.backbone),
    downloads=tuple(config.downloads),
    notes=tuple(config.notes),
    claims=tuple(config.claims),
    claims_by_labels=tuple(config.claims_by_labels),
    sizes=config.sizes.to_dict(),
    wanted=wanted,
    grid=grid,
    further=further,
  )


def _group(group):
  given, needed = set(group), {"methods", "bits", "seeds"}
  optional = {"arguments", "variant", "overrides"}
  if not needed <= given <= needed | optional:
    raise errors.UserError(
      f"A group of config.cells has the fields {sorted(given)}; it must have"
      " methods, bits and seeds, and may have arguments, variant and overrides."
    )
  lists = {
    name: (value,)
    if isinstance(value, (str, int)) and name not in ("arguments", "variant")
    else value
    for name, value in group.items()
  }
  return {"variant": "", "overrides": ()} | lists


def config_of(flag: flags.FlagHolder, example: str) -> Any:
  """Return the config of a config flag.

  Args:
    flag: From `config_flags.DEFINE_config_file`, without a default.
    example: A file that could have been given.

  Returns:
    The config.

  Raises:
    UserError: None was given, or there is no such file.
  """
  config = flag.value
  if config is None:
    raise errors.UserError(
      f"No config was given. Give one, such as --config={example}."
    )
  try:
    config.title  # noqa: B018  A missing file raises only when it is used.
  except OSError as error:
    raise errors.UserError(f"Cannot read --config: {error}") from None
  return config
