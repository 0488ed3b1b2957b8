"""The learning rate of each method: the best of a grid on validation."""

import dataclasses
import math
import pathlib
from typing import Any

from benchmarks.tables import cells, runner


@dataclasses.dataclass(frozen=True)
class Choice:
  """The outcome of a method's grid.

  Attributes:
    rate: The rate with the highest score, the lower of equals; None while no
      run is done, or when the table has no grid.
    scores: Rate -> validation score of its best epoch, for runs that are
      done and finite.
    states: Rate -> a state of `runner`, for all rates needed so far.
    is_at_edge: Whether the best is the lowest or highest rate that is done,
      with none left to extend the grid.
  """

  rate: float | None
  scores: dict[float, float]
  states: dict[float, str]
  is_at_edge: bool = False

  @property
  def is_final(self) -> bool:
    """Whether all runs of the grid have ended."""
    return runner.WAITING not in self.states.values()


def choose(table: cells.Table, workdir: pathlib.Path, method: str) -> Choice:
  """Return the choice for a method from the grid runs on disk."""
  scores, states = {}, {}

  def read(run):
    folder = workdir / run.folder
    state = runner.state(folder, table.settings(run))
    states[run.learning_rate] = state
    if state == runner.DONE:
      result = runner.read_json(folder / "result.json")
      score = validation_score(result, table.grid_metric)
      if math.isfinite(score):
        scores[run.learning_rate] = score

  for run in table.grid_of(method):
    read(run)
  further = {run.learning_rate: run for run in table.further_of(method)}
  while True:
    best = max(sorted(scores), key=scores.get, default=None)
    if best is None or runner.WAITING in states.values():
      return Choice(best, scores, states)
    run = _next(best, states, further)
    if run is None:
      is_at_edge = len(states) > 1 and best in (min(states), max(states))
      return Choice(best, scores, states, is_at_edge)
    read(further.pop(run.learning_rate))


def needed(
  table: cells.Table, workdir: pathlib.Path, run: cells.Cell
) -> bool | None:
  """Return whether a further run is needed; None if not yet known."""
  choice = choose(table, workdir, run.method)
  if run.learning_rate in choice.states:
    return True
  return False if choice.is_final else None


def _next(best, states, further):
  """Return the further run next to the best rate; None if that is inside."""
  lower = [rate for rate in further if rate < min(states)]
  higher = [rate for rate in further if rate > max(states)]
  if best == max(states) and higher:
    return further[min(higher)]
  if best == min(states) and lower:
    return further[max(lower)]
  return None


def validation_score(result: dict[str, Any], metric: str) -> float:
  """Return a validation score of the chosen epoch; nan if it has none."""
  scores = result.get("validation", {})
  return float(scores.get(f"validation/{metric}", math.nan))
