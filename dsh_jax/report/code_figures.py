"""Figures of the codes of one run."""

import re

import matplotlib
import numpy as np

from dsh_jax.report import curves, drawing
from dsh_jax.report.run_files import RunFiles


def of_run(run: RunFiles) -> list[drawing.Figure]:
  """Return the figures of a run's codes."""
  return [_distances(run), _balance(run), _correlation(run), _map(run)]


def _ramp(count: int) -> list[tuple[float, ...]]:
  """Return colours for 0, 1, ... shared labels, legible on light and dark."""
  colours = matplotlib.colormaps["viridis"](np.linspace(0.35, 0.85, count - 1))
  return [(0.56, 0.56, 0.58, 1.0), *map(tuple, colours)]


def _distances(run: RunFiles) -> drawing.Figure:
  def draw(figure):
    axes = figure.subplots()
    shares = curves.distances_by_overlap(run)
    for overlap, (row, colour) in enumerate(
      zip(shares, _ramp(len(shares)), strict=True)
    ):
      if not row.any():
        continue
      distances = np.arange(len(row))
      axes.fill_between(distances, row, color=colour, alpha=0.15, lw=0)
      label = f"{overlap} shared"
      axes.plot(distances, row, color=colour, label=label)
    axes.set(xlabel="Hamming distance", ylabel="share of pairs")
    axes.set_xlim(0, run.num_bits)
    axes.set_ylim(bottom=0)
    drawing.legend(axes)

  return drawing.render(
    f"{file_name(run)}_distances",
    "Distance by number of shared labels",
    "Pairs of a query and a database item. The more labels they share, the"
    " smaller their distance should be.",
    draw,
  )


def _balance(run: RunFiles) -> drawing.Figure:
  def draw(figure):
    axes = figure.subplots()
    share, _ = curves.bits(run)
    axes.bar(np.arange(len(share)), share, color=drawing.COLOURS[0], width=0.85)
    axes.axhline(0.5, color=drawing.INK, lw=1, linestyle=":")
    axes.set(xlabel="bit", ylabel="share of ones", ylim=(0, 1))
    axes.set_xlim(-0.6, len(share) - 0.4)

  return drawing.render(
    f"{file_name(run)}_balance",
    "Balance of the bits",
    "A bit carries most information if it is set for half of the database"
    " (dotted), and none if it is always or never set.",
    draw,
  )


def _correlation(run: RunFiles) -> drawing.Figure:
  def draw(figure):
    axes = figure.subplots()
    axes.grid(False)
    _, correlation = curves.bits(run)
    image = axes.imshow(
      correlation, vmin=-1, vmax=1, cmap="RdBu_r", interpolation="nearest"
    )
    axes.set(xlabel="bit", ylabel="bit")
    figure.colorbar(image, ax=axes, shrink=0.9)

  return drawing.render(
    f"{file_name(run)}_correlation",
    "Correlation of the bits",
    "Off the diagonal, pale is good: correlated (red) or anticorrelated"
    " (blue) bits are redundant.",
    draw,
  )


def _map(run: RunFiles) -> drawing.Figure:
  points, share, groups = curves.plane(run)

  def draw(figure):
    columns = min(3, len(groups))
    rows = -(-len(groups) // columns)
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for panel in panels:
      panel.set_axis_off()
    for panel, (name, carries) in zip(panels, groups, strict=False):
      dots = {"s": 4, "lw": 0, "rasterized": True}
      panel.scatter(*points[~carries].T, color="#8f8f94", alpha=0.35, **dots)
      panel.scatter(
        *points[carries].T, color=drawing.COLOURS[1], alpha=0.8, **dots
      )
      panel.set_title(name if len(name) <= 18 else f"{name[:17]}…", fontsize=9)
      panel.set_aspect("equal", adjustable="datalim")

  return drawing.render(
    f"{file_name(run)}_map",
    "Map of the codes",
    "Database codes projected onto their two principal components"
    f" ({share:.0%} of the variance). Each panel marks the items with one of"
    " the most frequent labels.",
    draw,
    size=(5.0, 3.7),
  )


def file_name(run: RunFiles) -> str:
  """Return a run's name for files and element ids."""
  return re.sub(r"\W+", "-", run.name, flags=re.ASCII).strip("-") or "run"
