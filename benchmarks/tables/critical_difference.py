"""Significant differences between the methods of a block, as a picture."""

import itertools
import pathlib

import matplotlib.figure
import numpy as np

from benchmarks.tables import cells, rows
from dsh_jax.retrieval import significance

_INCH_PER_ROW = 0.24
_INCH_PER_BAR = 0.12


def groups(
  scores: dict[str, np.ndarray], threshold: float = 0.05
) -> tuple[list[str], list[tuple[int, int]]]:
  """Return the methods by rising mean, and groups that cannot be told apart.

  A group holds all methods between its ends; its ends, and with them all pairs
  of it, have p >= `threshold` by `significance.compare`, after Holm's
  correction for all pairs.

  Args:
    scores: Method -> float64 [S,Q], S at least 2, the same queries for all.
    threshold: Threshold on the corrected p-value.

  Returns:
    (names, groups as (first place, last place), none inside another).
  """
  names = sorted(scores, key=lambda name: scores[name].mean())
  pairs = list(itertools.combinations(range(len(names)), 2))
  p_values = significance.holm(
    [
      significance.compare(scores[names[i]], scores[names[j]]).p_value
      for i, j in pairs
    ]
  )
  apart = {
    pair for pair, p in zip(pairs, p_values, strict=True) if p < threshold
  }
  found = []
  for first in range(len(names)):
    last = first
    while last + 1 < len(names) and not any(
      (i, last + 1) in apart for i in range(first, last + 1)
    ):
      last += 1
    if last > first and not any(last <= end for _, end in found):
      found.append((first, last))
  return names, found


def save(
  table: cells.Table, contents: rows.Contents, path: pathlib.Path
) -> bool:
  """Draw the block of most methods that have two seeds or more.

  Args:
    table: The table.
    contents: Its finished runs.
    path: A PNG file.

  Returns:
    Whether there was something to draw.
  """
  metric = table.metrics[0]
  blocks: dict[tuple[int, str], dict[str, np.ndarray]] = {}
  for (method, *block), members in contents.records.items():
    if len(members) > 1:
      scores = np.stack([record.per_query[metric] for record in members])
      blocks.setdefault(tuple(block), {})[method] = scores
  if not contents.is_paired or not blocks:
    return False
  block, scores = max(blocks.items(), key=lambda item: len(item[1]))
  if len(scores) < 2:
    return False
  names, bars = groups(scores)
  figure = matplotlib.figure.Figure(
    figsize=(6.5 + _INCH_PER_BAR * len(bars), 1.2 + _INCH_PER_ROW * len(names)),
    layout="constrained",
  )
  axis = figure.subplots()
  means = [scores[name].mean() for name in names]
  for height, name in enumerate(names):
    seeds = scores[name].mean(axis=1)
    axis.plot(seeds, [height] * len(seeds), "|", color="#808080", ms=6)
    axis.plot(means[height], height, "o", color="#1f5f99", ms=5)
  right = max(means) + 0.03
  step = 0.012 * max(1.0, max(means) - min(means)) + 0.004
  for place, (first, last) in enumerate(bars):
    x = right + place * step
    axis.plot([x, x], [first, last], color="#d9772b", linewidth=2.5)
  axis.set_yticks(range(len(names)), names, size=8)
  axis.set_xlabel(
    f"{metric}: mean (dot) and seeds (ticks). A bar joins methods that cannot\n"
    "be told apart: p >= 0.05 over seeds and queries, Holm for all pairs.",
    size=8,
  )
  axis.tick_params(axis="x", labelsize=8)
  axis.grid(axis="x", linewidth=0.3)
  bits, variant = block
  title = f"{table.title}, {bits} bits"
  figure.suptitle(title + (f", {variant}" if variant else ""), size=11)
  figure.savefig(path, dpi=150, format="png")
  return True
