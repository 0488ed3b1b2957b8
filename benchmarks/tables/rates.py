"""The learning rate of each method: the best of a grid on validation."""

import dataclasses
import math
import pathlib
from typing import Any

from benchmarks.tables import cells, runner


@dataclasses.dataclass(frozen=True)
class Choice:
  """What a method's grid came to.

  Attributes:
    rate: The rate with the highest score, the lower of equals; None while no
      run is done, or when the table has no grid.
    scores: Rate -> validation score of its best epoch, for runs that are
      done and finite.
    states: Rate -> a state of `runner`, for all rates.
  """

  rate: float | None
  scores: dict[float, float]
  states: dict[float, str]

  @property
  def is_final(self) -> bool:
    """Whether no run of the grid is still to come."""
    return runner.WAITING not in self.states.values()


def choose(table: cells.Table, workdir: pathlib.Path, method: str) -> Choice:
  """Returns the choice for a method from the grid runs on disk."""
  scores, states = {}, {}
  for run in table.grid_of(method):
    folder = workdir / run.folder
    state = runner.state(folder, table.settings(run))
    states[run.learning_rate] = state
    if state == runner.DONE:
      result = runner.read_json(folder / "result.json")
      score = validation_score(result, table.grid_metric)
      if math.isfinite(score):
        scores[run.learning_rate] = score
  best = max(sorted(scores), key=scores.get, default=None)
  return Choice(best, scores, states)


def validation_score(result: dict[str, Any], metric: str) -> float:
  """Returns a validation score of the chosen epoch; nan if it has none."""
  scores = result.get("validation", {})
  return float(scores.get(f"validation/{metric}", math.nan))
