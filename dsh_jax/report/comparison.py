"""Runs side by side: which may be compared, what differs, which is best."""

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

_RESAMPLES = 2000  # Of queries, for intervals of single seeds.
_RULES = ("eval.normalizer", "eval.drop_empty")  # Of the scores.
# Fields that come first where configurations differ; those of the loss follow
# from the method.
_FIRST = ("method", "bits")


@dataclasses.dataclass(frozen=True)
class Setting:
  """Runs that differ in nothing but the seed.

  Attributes:
    name: Name on the page, unique.
    place: Place among the colours, from 0.
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
  """Settings that are scored on the same queries and items by one rule.

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
    """Metrics that all runs have; the one that chose the epochs comes first."""
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
    """The settings, best first, and their score by every metric."""
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


@dataclasses.dataclass(frozen=True)
class Cell:
  """A setting's score by one metric.

  Attributes:
    mean: Over queries and seeds.
    over_seeds: Half-width of the 95 % interval over seeds; nan for one seed.
    over_queries: The same over queries, of the seeds' mean.
    mark: "best", "equal" if it cannot be told from the best, or "".
  """

  mean: float
  over_seeds: float
  over_queries: float
  mark: str


@dataclasses.dataclass(frozen=True)
class Difference:
  """How far a setting is below the best one.

  Attributes:
    name: Of the setting.
    mean: Of the difference, best less this.
    low: Lower end of its 95 % interval.
    high: Upper end.
    p_value: Of no difference, after Holm; nan where a setting has one seed.
  """

  name: str
  mean: float
  low: float
  high: float
  p_value: float


def group(runs: Sequence[RunFiles]) -> list[Block]:
  """Return blocks of comparable settings, in the order of the runs."""
  found: dict[tuple, dict[tuple, list[RunFiles]]] = {}
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
    found.setdefault(block, {}).setdefault(key, []).append(run)
  members = [runs for settings in found.values() for runs in settings.values()]
  names = iter(_names(members))
  places = iter(range(len(members)))
  return [
    Block(
      tuple(
        Setting(next(names), next(places), tuple(runs))
        for runs in settings.values()
      )
    )
    for settings in found.values()
  ]


def _names(members: Sequence[Sequence[RunFiles]]) -> list[str]:
  """Return a name of each setting: that of its run, or method and bits."""
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
  """Return what forbids or limits a comparison, a sentence each."""
  found = []
  if len(blocks) > 1:
    parts = "; ".join(
      f"{block.name}: {', '.join(s.name for s in block.settings)}"
      for block in blocks
    )
    found.append(
      "These runs were not all scored on the same queries, items and rules"
      f" ({parts}). Compare inside a table, not across tables."
    )
  for block in blocks:
    trained = {
      (run.result["split_sha256"].get("train"), run.result["protocol"])
      for run in block.runs
    }
    if len(trained) > 1:
      found.append(
        f"The runs on {block.name} were trained on different images."
      )
  for block in blocks:
    for run in block.runs:
      if run.result["select"] == "test_best":
        found.append(
          f"{run.name} chose its epoch on the test queries, so its scores are"
          " too high."
        )
  return found


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
  """Return setting -> float64 [seeds, queries]; {} where nothing is tested."""
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
  best, equal = significance.best_and_equal(scores, num_resamples=_RESAMPLES)
  return dict.fromkeys(equal, "equal") | {best: "best"}


def below_best(block: Block) -> tuple[str, list[Difference]]:
  """Test every setting against the best by the block's first metric.

  Returns:
    The best setting and its differences to the others; "" and [] without any.
  """
  scores = _scores(block, block.metrics[0]) if block.metrics else {}
  if not scores:
    return "", []
  best = max(scores, key=lambda name: scores[name].mean())
  others = {name: values for name, values in scores.items() if name != best}
  if min(map(len, scores.values())) > 1:
    tests = [
      significance.compare(scores[best], values) for values in others.values()
    ]
    p_values = significance.holm([test.p_value for test in tests])
    rows = [
      (test.mean, test.mean - test.half_width, test.mean + test.half_width, p)
      for test, p in zip(tests, p_values, strict=True)
    ]
  else:
    means = np.stack(
      [
        scores[best].mean(axis=0) - values.mean(axis=0)
        for values in others.values()
      ]
    )
    low, high = significance.paired_bootstrap(means, _RESAMPLES)
    rows = [
      (float(mean), *map(float, bounds), math.nan)
      for mean, *bounds in zip(means.mean(axis=1), low, high, strict=True)
    ]
  found = [
    Difference(name, *row) for name, row in zip(others, rows, strict=True)
  ]
  return best, sorted(found, key=lambda difference: difference.mean)
