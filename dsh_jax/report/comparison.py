"""Groups of comparable runs, their differences, and the best of them."""

import dataclasses
import functools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from dsh_jax.report import drawing
from dsh_jax.report.run_files import RunFiles
from dsh_jax.retrieval import significance
from dsh_jax.runs import changes

_RESAMPLES = 2000  # Resamples of the bootstrap over queries.
_RULES = ("eval.normalizer", "eval.drop_empty")  # Fields that change scores.
_FIRST = ("method", "bits")  # Fields to list first.


@dataclasses.dataclass(frozen=True)
class Setting:
  """Runs that differ in the seed only.

  Attributes:
    name: Name on the page, unique.
    place: Index of its colour, from 0.
    runs: The runs, at least one.
  """

  name: str
  place: int
  runs: tuple[RunFiles, ...]

  @property
  def colour(self) -> str:
    """Colour in the figures, "#rrggbb"."""
    return drawing.colour(self.place)

  def mean(self, metric: str) -> np.ndarray:
    """Return the score of each sampled query, float64, averaged over seeds."""
    return np.mean([run.per_query[metric] for run in self.runs], axis=0)


@dataclasses.dataclass(frozen=True)
class Block:
  """Settings scored on the same queries and items by the same rules.

  Attributes:
    settings: At least one.
  """

  settings: tuple[Setting, ...]

  @property
  def runs(self) -> tuple[RunFiles, ...]:
    """All runs."""
    return tuple(run for setting in self.settings for run in setting.runs)

  @property
  def name(self) -> str:
    """Data set and number of queries and items."""
    run = self.runs[0]
    return (
      f"{run.result['dataset']}, {len(run.query_codes):,} queries in"
      f" {len(run.database_codes):,} items"
    )

  @property
  def metrics(self) -> list[str]:
    """Metrics of all runs; the one that chose the epochs comes first."""
    first = self.runs[0]
    names = [
      name
      for name in first.result["metrics"]
      if all(name in run.result["metrics"] for run in self.runs)
    ]
    chosen = first.config["eval.select_metric"]
    return sorted(names, key=lambda name: name != chosen)

  @functools.cached_property
  def table(self) -> list[tuple[Setting, dict[str, "Cell"]]]:
    """The settings, best first, and their score by each metric."""
    marks = {metric: _marks(self, metric) for metric in self.metrics}
    rows = [
      (
        setting,
        {name: _cell(setting, name, marks[name]) for name in self.metrics},
      )
      for setting in self.settings
    ]
    return sorted(
      rows, key=lambda row: -next((c.mean for c in row[1].values()), 0)
    )

  @functools.cached_property
  def untrained(self) -> dict[str, dict[str, float]]:
    """Chance and the baselines, each with its scores by `metrics`.

    Those of a baseline are means over the runs that have it.
    """
    first = self.runs[0].result["metrics"]
    scores = {name: [first[name]["chance"]] for name in self.metrics}
    found = {"chance": scores}
    for run in self.runs:
      for name, measured in run.result.get("baselines", {}).items():
        for metric in filter(measured.__contains__, self.metrics):
          of_baseline = found.setdefault(name, {})
          of_baseline.setdefault(metric, []).append(measured[metric])
    return {
      name: {metric: float(np.mean(x)) for metric, x in scores.items()}
      for name, scores in found.items()
    }


@dataclasses.dataclass(frozen=True)
class Cell:
  """A setting's score by one metric.

  Attributes:
    mean: Mean over queries and seeds.
    over_seeds: Half-width of the 95 % interval over seeds; nan for one seed.
    over_queries: Half-width over queries, of the mean over seeds.
    mark: "best", "equal" if not significantly below the best, or "".
  """

  mean: float
  over_seeds: float
  over_queries: float
  mark: str


def group(runs: Sequence[RunFiles]) -> list[Block]:
  """Return blocks of comparable settings, in the order of the runs."""
  groups: dict[tuple, dict[tuple, list[RunFiles]]] = {}
  for run in runs:
    digests = run.result["split_sha256"]
    block = (
      digests.get("query"),
      digests.get("database"),
      *(run.config.get(name) for name in _RULES),
    )
    key = tuple(
      (name, str(value))
      for name, value in sorted(run.config.items())
      if name not in changes.WITHOUT_EFFECT | {"seed"}
    )
    groups.setdefault(block, {}).setdefault(key, []).append(run)
  members = [runs for settings in groups.values() for runs in settings.values()]
  names = iter(_names(members))
  places = iter(range(len(members)))
  return [
    Block(
      tuple(
        Setting(next(names), next(places), tuple(runs))
        for runs in settings.values()
      )
    )
    for settings in groups.values()
  ]


def _names(members: Sequence[Sequence[RunFiles]]) -> list[str]:
  """Return a name for each setting: that of its run, or method and bits."""
  short = [
    f"{runs[0].result['method']}, {runs[0].num_bits} bits, {len(runs)} seeds"
    for runs in members
  ]
  return [
    name
    if len(runs) > 1 and short.count(name) == 1
    else runs[0].name + (f" and {len(runs) - 1} more" if len(runs) > 1 else "")
    for runs, name in zip(members, short, strict=True)
  ]


def warnings(blocks: Sequence[Block]) -> list[str]:
  """Return a sentence for each reason not to compare runs or trust scores."""
  sentences = []
  if len(blocks) > 1:
    parts = "; ".join(
      f"{block.name}: {', '.join(s.name for s in block.settings)}"
      for block in blocks
    )
    sentences.append(
      "These runs were not all scored on the same queries, items and rules"
      f" ({parts}). Compare inside a table, not across tables."
    )
  for block in blocks:
    trained = {
      (run.result["split_sha256"].get("train"), run.result["protocol"])
      for run in block.runs
    }
    if len(trained) > 1:
      sentences.append(
        f"The runs on {block.name} were trained on different images."
      )
  for block in blocks:
    of = f"{block.name}: " if len(blocks) > 1 else ""
    found = [run.result.get("data_warnings", ()) for run in block.runs]
    sentences += dict.fromkeys(of + text for texts in found for text in texts)
  for block in blocks:
    for run in block.runs:
      if run.result["select"] == "test_best":
        sentences.append(
          f"{run.name} chose its epoch on the test queries, so its scores are"
          " too high."
        )
  return sentences


def differences(settings: Sequence[Setting]) -> list[tuple[str, list[Any]]]:
  """Return the config fields that differ, and their value in each setting."""
  configs = [setting.runs[0].config for setting in settings]
  names = {name for config in configs for name in config}
  names -= changes.WITHOUT_EFFECT | {"seed"}
  rows = []
  for name in sorted(
    names, key=lambda n: (n not in _FIRST, n.startswith("loss."), n)
  ):
    values = [config.get(name, "") for config in configs]
    if any(value != values[0] for value in values):
      rows.append((name, values))
  return rows


def _cell(setting, metric, marks) -> Cell:
  scores = [run.result["metrics"][metric]["expected"] for run in setting.runs]
  mean, over_seeds = significance.t_interval(scores)
  return Cell(
    mean=mean,
    over_seeds=over_seeds,
    over_queries=over_queries(setting, metric),
    mark=marks.get(setting.name, ""),
  )


def over_queries(setting: Setting, metric: str) -> float:
  """Return the half-width of a score's 95 % interval over queries, or nan."""
  scores = np.mean([run.averaged(metric) for run in setting.runs], axis=0)
  return significance.t_interval(scores)[1] if len(scores) else math.nan


def _scores(block: Block, metric: str) -> dict[str, np.ndarray]:
  """Return setting -> float64 [seeds, queries]; {} if there is no test."""
  scores = {
    setting.name: np.stack([run.averaged(metric) for run in setting.runs])
    for setting in block.settings
  }
  is_empty = any(values.size == 0 for values in scores.values())
  return {} if is_empty or len(scores) < 2 else scores


def _marks(block: Block, metric: str) -> dict[str, str]:
  scores = _scores(block, metric)
  if not scores:
    return {}
  best, equal = significance.best_and_equal(scores, _RESAMPLES)
  return dict.fromkeys(equal, "equal") | {best: "best"}


def below_best(block: Block) -> tuple[str, list[significance.Gap]]:
  """Return the best setting by the block's first metric, and gaps to it.

  Without a test they are "" and [].
  """
  scores = _scores(block, block.metrics[0]) if block.metrics else {}
  if not scores:
    return "", []
  best, gaps = significance.gaps_to_best(scores, _RESAMPLES)
  return best, sorted(gaps, key=lambda gap: gap.mean)
