"""A study as a picture: scores over each setting."""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.figure
import numpy as np

from benchmarks.tables import cells
from dsh_jax.retrieval import significance


def save(
  study: Any,
  scores: Mapping[cells.Cell, Sequence[float]],
  path: pathlib.Path,
) -> None:
  """Draw the plane as lines, then the sweeps.

  Args:
    study: A `study.Study`.
    scores: Setting -> scores of its seeds.
    path: A PNG file.
  """
  num_panels = 1 + len(study.sweeps)
  figure = matplotlib.figure.Figure(
    figsize=(4.2 * num_panels, 3.6), layout="constrained"
  )
  axes = figure.subplots(1, num_panels, squeeze=False, sharey=True)[0]
  one, two = study.fields
  for value in dict.fromkeys(w for _, w in study.plane):
    line = {v: study.plane[v, w] for v, w in study.plane if w == value}
    _draw_line(axes[0], line, scores, f"{two.rpartition('.')[2]} {value:g}")
  axes[0].set_xlabel(one, size=9)
  for axis, (field, values) in zip(axes[1:], study.sweeps.items(), strict=True):
    _draw_line(axis, values, scores, None)
    axis.set_xlabel(field, size=9)
  for axis in axes:
    for index, (name, cell) in enumerate(study.plain.items()):
      if cell in scores:
        axis.axhline(
          np.mean(scores[cell]),
          color=f"C{7 + index}",
          linestyle=":",
          label=name,
        )
    axis.grid(linewidth=0.3)
    axis.tick_params(labelsize=8)
    if axis.get_legend_handles_labels()[0]:
      axis.legend(fontsize=7)
  axes[0].set_ylabel(f"{study.table.metrics[0]}, validation", size=9)
  figure.suptitle(study.table.title, size=11)
  figure.savefig(path, dpi=150)


def _draw_line(axis, line, scores, label):
  done = sorted(
    (v, *significance.t_interval(scores[cell]))
    for v, cell in line.items()
    if cell in scores
  )
  if not done:
    return
  values, heights, errors_of = zip(*done, strict=True)
  # 0 has a place of its own, left of the smallest value.
  smallest = min((v for v in values if v > 0), default=1.0)
  axis.set_xscale("symlog", linthresh=smallest, linscale=0.5)
  axis.errorbar(
    values,
    heights,
    yerr=np.nan_to_num(errors_of),
    fmt="o-",
    ms=4,
    capsize=2.5,
    label=label,
  )
  axis.set_xticks(values, [f"{v:g}" for v in values])
  axis.minorticks_off()
