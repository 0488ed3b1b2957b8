"""Intervals over seeds, and differences that chance could have made."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from scipy import special

_CHUNK = 2**22  # Weights drawn at a time.


def t_interval(
  values: Sequence[float], confidence: float = 0.95
) -> tuple[float, float]:
  """Returns the mean and the half-width of its confidence interval.

  The interval of Student's t: values are taken to be independent draws from
  a normal distribution.

  Args:
    values: One number a seed.
    confidence: Share of such intervals that hold the true mean.

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
  """Returns percentile intervals of mean differences over queries.

  A resample draws Q queries with replacement, the same ones for all rows.

  Args:
    differences: float64 [M,Q], of one query between two methods.
    num_resamples: Draws.
    confidence: Share of the resampled means inside the interval.
    seed: Of the draws.

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


def best_and_equal(
  scores: Mapping[str, np.ndarray], **bootstrap
) -> tuple[str, set[str]]:
  """Returns the best method and those that cannot be told from it.

  A method cannot be told from the best when the bootstrap interval of the
  mean difference to it holds 0. Intervals are not corrected for the number
  of methods, and know nothing of how seeds differ.

  Args:
    scores: Method -> float64 [Q], higher is better, the same queries for all.
    **bootstrap: See `paired_bootstrap`.

  Returns:
    (name of the highest mean, the others that are not clearly below it).
  """
  best = max(scores, key=lambda name: scores[name].mean())
  others = [name for name in scores if name != best]
  if not others:
    return best, set()
  differences = np.stack([scores[best] - scores[name] for name in others])
  low, _ = paired_bootstrap(differences, **bootstrap)
  return best, {
    name for name, bound in zip(others, low, strict=True) if bound <= 0
  }
