"""A table as a picture: methods at one code length, and over code lengths."""

import collections
import math
import pathlib

import matplotlib.figure
import numpy as np

from benchmarks.tables import cells, rows

_INCH_PER_ROW = 0.24
_BLUE, _ORANGE, _GREY = "#1f5f99", "#d9772b", "#808080"


def save(
  table: cells.Table, contents: rows.Contents, path: pathlib.Path
) -> None:
  """Draw the first metrics at the code length with most rows.

  If a method has several code lengths, a last panel shows the first metric over
  them. Without scores, draw nothing.
  """
  scored = [row for row in contents.rows if row.scores and not row.variant]
  if not scored:
    return
  trained = [row for row in scored if not row.is_reference] or scored
  counts = collections.Counter(row.bits for row in trained)
  bits = counts.most_common(1)[0][0]
  members = [row for row in scored if row.bits == bits]
  members.sort(key=lambda row: row.scores[table.metrics[0]].mean)
  metrics = table.metrics[:3]
  lines = collections.defaultdict(list)
  for row in scored:
    lines[row.method].append(row)
  lines = {name: found for name, found in lines.items() if len(found) > 1}
  num_panels = len(metrics) + bool(lines)
  figure = matplotlib.figure.Figure(
    figsize=(
      3.4 * num_panels + 1.2,
      1.4 + _INCH_PER_ROW * max(12, len(members)),
    ),
    layout="constrained",
  )
  axes = figure.subplots(1, num_panels, squeeze=False)[0]
  for index, metric in enumerate(metrics):
    _draw_methods(axes[index], members, metric, with_names=index == 0)
  if lines:
    _draw_lengths(axes[-1], lines, table.metrics[0])
  figure.suptitle(
    f"{table.title}, {bits} bits: mean over seeds and 95 % interval", size=11
  )
  figure.savefig(path, dpi=150, format="png")


def _draw_methods(axis, members, metric, with_names):
  for height, row in enumerate(members):
    score = row.scores[metric]
    half = 0.0 if math.isnan(score.half_width) else score.half_width
    color = _GREY if row.is_reference else _BLUE
    axis.plot(
      [score.pessimistic, score.optimistic],
      [height, height],
      color=color,
      alpha=0.25,
      linewidth=6,
      solid_capstyle="butt",
    )
    axis.errorbar(
      score.mean, height, xerr=half, fmt="o", ms=4, capsize=2.5, color=color
    )
    if score.printed:
      axis.plot(score.printed.value, height, "D", ms=4, color=_ORANGE)
  chances = [row.scores[metric].chance for row in members]
  axis.axvline(np.nanmean(chances), color=_GREY, linestyle=":", linewidth=1)
  names = [row.method for row in members] if with_names else []
  axis.set_yticks(range(len(members)) if with_names else [], names, size=8)
  axis.set_xlabel(f"{metric} (dotted: chance; pale: ties)", size=8)
  axis.tick_params(axis="x", labelsize=8)
  axis.grid(axis="x", linewidth=0.3)


def _draw_lengths(axis, lines, metric):
  for name, found in lines.items():
    found = sorted(found, key=lambda row: row.bits)
    scores = [row.scores[metric] for row in found]
    lengths = [row.bits for row in found]
    drawn = axis.errorbar(
      lengths,
      [score.mean for score in scores],
      yerr=[
        0.0 if math.isnan(score.half_width) else score.half_width
        for score in scores
      ],
      marker="o",
      ms=4,
      capsize=2.5,
      label=name,
    )
    known = [(k, s.printed) for k, s in zip(lengths, scores, strict=True)]
    known = [(k, p.value) for k, p in known if p]
    if known:
      axis.plot(
        *zip(*known, strict=True), "D:", ms=4, color=drawn.lines[0].get_color()
      )
  axis.set_xticks(sorted({row.bits for f in lines.values() for row in f}))
  axis.set_xlabel("bits", size=8)
  axis.set_ylabel(metric, size=8)
  axis.tick_params(labelsize=8)
  axis.grid(linewidth=0.3)
  axis.legend(fontsize=8)
