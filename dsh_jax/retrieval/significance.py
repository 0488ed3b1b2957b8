"""Confidence intervals, and tests of differences between methods."""

import dataclasses
import math
from collections.abc import Mapping, Sequence

import numpy as np
from scipy import special

_CHUNK = 2**22  # Weights drawn at a time.


def t_interval(
  values: Sequence[float], confidence: float = 0.95
) -> tuple[float, float]:
  """Return the mean and the half-width of its confidence interval.

  Student's t: values are independent draws from a normal distribution.

  Args:
    values: One number per seed.
    confidence: Share of such intervals that contain the true mean.

  Returns:
    (mean, half-width); the half-width of a single value is nan.
  """
  values = np.asarray(values, np.float64)
  count = values.size
  if count < 2:
    return float(values.mean()), math.nan
  quantile = special.stdtrit(count - 1, (1 + confidence) / 2)
  return float(values.mean()), float(
    quantile * values.std(ddof=1) / math.sqrt(count)
  )


def paired_bootstrap(
  differences: np.ndarray,
  num_resamples: int = 10_000,
  confidence: float = 0.95,
  seed: int = 0,
) -> tuple[np.ndarray, np.ndarray]:
  """Return percentile intervals of mean differences over queries.

  A resample draws Q queries with replacement, the same for all rows.

  Args:
    differences: float64 [M,Q], between two methods, by query.
    num_resamples: Number of resamples.
    confidence: Share of the resampled means inside the interval.
    seed: Seed of the draws.

  Returns:
    (low [M], high [M]).
  """
  num_queries = differences.shape[1]
  rng = np.random.default_rng(seed)
  share = np.full(num_queries, 1 / num_queries)
  means = []
  while num_resamples > 0:
    size = min(num_resamples, max(1, _CHUNK // num_queries))
    weights = rng.multinomial(num_queries, share, size=size)
    means.append(weights.astype(np.float64) @ differences.T / num_queries)
    num_resamples -= size
  tail = 50 * (1 - confidence)
  low, high = np.percentile(np.concatenate(means), [tail, 100 - tail], axis=0)
  return low, high


@dataclasses.dataclass(frozen=True)
class Difference:
  """The difference of two methods, with its uncertainty.

  Attributes:
    mean: First minus second, averaged over seeds and queries.
    half_width: Half-width of the 95 % interval; nan if a method has one seed.
    p_value: Two-sided p-value of no difference; nan likewise.
    num_seeds: Seeds of the first and of the second method.
    num_queries: Q.
  """

  mean: float
  half_width: float
  p_value: float
  num_seeds: tuple[int, int]
  num_queries: int


def compare(first: np.ndarray, second: np.ndarray) -> Difference:
  """Test whether two methods differ beyond these seeds and queries.

  Seeds and queries are both random effects. The variance of the mean difference
  is the sum of three variances: between seeds of the first method, between
  seeds of the second, and between queries of their difference. Student's t has
  the degrees of freedom of Welch and Satterthwaite.

  Source: H. Clark, "The language-as-fixed-effect fallacy", Journal of Verbal
  Learning and Verbal Behavior 1973: the statistic min F', whose variance counts
  the interaction of seeds and queries twice, and so errs towards no difference.

  Args:
    first: float64 [seeds,Q], scores of the queries.
    second: The same of the other method, on the same queries, with any number
      of seeds. One column, such as means over queries, makes it Welch's test
      over seeds.
  """
  mean = float(first.mean() - second.mean())
  num_seeds = len(first), len(second)
  num_queries = first.shape[1]
  if min(num_seeds) < 2:
    return Difference(mean, math.nan, math.nan, num_seeds, num_queries)
  samples = [first.mean(axis=1), second.mean(axis=1)]
  if num_queries > 1:
    samples.append(first.mean(axis=0) - second.mean(axis=0))
  parts = [(x.var(ddof=1) / x.size, x.size - 1) for x in samples]
  variance = sum(part for part, _ in parts)
  if variance == 0:
    return Difference(mean, 0.0, float(mean == 0), num_seeds, num_queries)
  degrees = variance**2 / sum(part**2 / count for part, count in parts)
  error = math.sqrt(variance)
  return Difference(
    mean=mean,
    half_width=float(special.stdtrit(degrees, 0.975) * error),
    p_value=float(2 * special.stdtr(degrees, -abs(mean) / error)),
    num_seeds=num_seeds,
    num_queries=num_queries,
  )


def holm(p_values: Sequence[float]) -> list[float]:
  """Return p-values corrected for the number of tests.

  If those below 0.05 are called differences, the probability of any false one
  is at most 0.05.

  Source: S. Holm, "A simple sequentially rejective multiple test procedure",
  Scandinavian Journal of Statistics 1979.

  Args:
    p_values: One per test; nan stays nan and does not count.
  """
  corrected = [math.nan] * len(p_values)
  tests = [i for i, value in enumerate(p_values) if not math.isnan(value)]
  largest = 0.0
  for place, index in enumerate(sorted(tests, key=lambda i: p_values[i])):
    largest = max(largest, (len(tests) - place) * p_values[index])
    corrected[index] = min(1.0, largest)
  return corrected


@dataclasses.dataclass(frozen=True)
class Gap:
  """How far a method is below the best one.

  Attributes:
    name: Name of the method.
    mean: Mean of best minus this.
    low: Lower end of its 95 % interval.
    high: Upper end.
    p_value: Corrected by `holm`; nan if any method has one seed.
  """

  name: str
  mean: float
  low: float
  high: float
  p_value: float

  @property
  def is_significant(self) -> bool:
    """Whether p is below 0.05, or else the interval is above 0."""
    return self.low > 0 if math.isnan(self.p_value) else self.p_value < 0.05


def gaps_to_best(
  scores: Mapping[str, np.ndarray], num_resamples: int = 10_000
) -> tuple[str, list[Gap]]:
  """Compare every method with the best one.

  Methods with several seeds each are compared by `compare`. Otherwise the
  intervals are those of `paired_bootstrap`, which ignores seeds and the number
  of methods.

  Args:
    scores: Method -> float64 [seeds,Q], higher is better, the same queries for
      all.
    num_resamples: Resamples of the bootstrap.

  Returns:
    (method of the highest mean, the others).
  """
  best = max(scores, key=lambda name: scores[name].mean())
  others = [name for name in scores if name != best]
  if not others:
    return best, []
  if min(map(len, scores.values())) > 1:
    tests = [compare(scores[best], scores[name]) for name in others]
    p_values = holm([test.p_value for test in tests])
    return best, [
      Gap(
        name,
        test.mean,
        test.mean - test.half_width,
        test.mean + test.half_width,
        p_value,
      )
      for name, test, p_value in zip(others, tests, p_values, strict=True)
    ]
  means = {name: values.mean(axis=0) for name, values in scores.items()}
  differences = np.stack([means[best] - means[name] for name in others])
  low, high = paired_bootstrap(differences, num_resamples)
  ends = zip(others, differences.mean(axis=1), low, high, strict=True)
  return best, [
    Gap(name, *map(float, numbers), math.nan) for name, *numbers in ends
  ]


def best_and_equal(
  scores: Mapping[str, np.ndarray], num_resamples: int = 10_000
) -> tuple[str, set[str]]:
  """Return the best method and those not significantly below it."""
  best, gaps = gaps_to_best(scores, num_resamples)
  return best, {gap.name for gap in gaps if not gap.is_significant}
