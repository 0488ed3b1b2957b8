"""The figures of the report: those that show all runs, and those of one run."""

import re
from collections.abc import Sequence

import matplotlib
import matplotlib.figure
import numpy as np

from dsh_jax.report import curves, drawing
from dsh_jax.report.run_files import RunFiles

_CHOOSERS = ("validation", "test")  # Splits whose queries choose the epoch.


def shared(runs: Sequence[RunFiles]) -> list[drawing.Figure]:
  """Return the figures that show all runs together."""
  figures = []
  if any(run.series("train/loss")[0] for run in runs):
    figures.append(_loss(runs))
  if any(_validation_names(run) for run in runs):
    figures.append(_validation(runs))
  figures += [
    _over_k(
      runs,
      "ndcg",
      "NDCG@k",
      "Rank quality of the first k items; 1 is the best possible order.",
    ),
    _over_k(
      runs,
      "acg",
      "ACG@k",
      "Mean number of labels shared with the query among the first k.",
    ),
    _precision_recall(runs),
  ]
  return figures


def of_run(run: RunFiles) -> list[drawing.Figure]:
  """Return the figures that show one run."""
  return [_distances(run), _balance(run), _correlation(run), _map(run)]


def _loss(runs: Sequence[RunFiles]) -> drawing.Figure:
  def draw(figure):
    axes = figure.subplots()
    for place, run in enumerate(runs):
      names = ["train/loss"]
      if len(runs) == 1:
        hidden = {"train/gradient_norm", "train/soft_pairs", "train/loss"}
        names += sorted(
          {name for line in run.log for name in line if name[:6] == "train/"}
          - hidden
        )
      for offset, name in enumerate(names):
        text = name[6:] if len(runs) == 1 else run.name
        axes.plot(
          *run.series(name),
          color=drawing.colour(place + offset),
          label=drawing.label(text),
        )
    axes.set(xlabel="step", ylabel="loss")
    drawing.legend(axes)

  return drawing.render(
    "loss",
    "Training loss",
    "The loss of single batches, with its terms if there is one run.",
    draw,
  )


def _validation_names(run: RunFiles) -> list[str]:
  names = {name for line in run.log for name in line}
  return sorted(name for name in names if name.split("/")[0] in _CHOOSERS)


def _validation(runs: Sequence[RunFiles]) -> drawing.Figure:
  def draw(figure):
    axes = figure.subplots()
    for place, run in enumerate(runs):
      for offset, name in enumerate(_validation_names(run)):
        axes.plot(
          *run.series(name),
          marker="o",
          markersize=3,
          linestyle=("-", "--", ":")[offset % 3],
          color=drawing.colour(place),
          label=drawing.label(name if len(runs) == 1 else f"{run.name} {name}"),
        )
      if run.result["selected_step"]:
        axes.axvline(
          run.result["selected_step"],
          color=drawing.colour(place),
          alpha=0.4,
          lw=1,
        )
    axes.set(xlabel="step", ylabel="score")
    drawing.legend(axes)

  return drawing.render(
    "validation",
    "Scores while training",
    "Vertical line: the step whose weights were kept. Validation queries"
    " search the training images.",
    draw,
  )


def _over_k(
  runs: Sequence[RunFiles], metric: str, title: str, words: str
) -> drawing.Figure:
  def draw(figure):
    axes = figure.subplots()
    for place, run in enumerate(runs):
      ks, means = curves.by_cut_off(run, metric)
      colour = drawing.colour(place)
      axes.fill_between(
        ks,
        means["pessimistic"],
        means["optimistic"],
        color=colour,
        alpha=0.2,
        lw=0,
      )
      axes.plot(
        ks, means["expected"], color=colour, label=drawing.label(run.name)
      )
      axes.plot(
        ks,
        means["chance"],
        color=colour,
        linestyle=":",
        label="chance" if len(runs) == 1 else None,
      )
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.set(xlabel="k", ylabel=title)
    axes.set_ylim(bottom=0)
    drawing.legend(axes)

  band = (
    " Line: mean over all orders of tied items. Band: worst to best order."
    " Dotted: chance."
  )
  return drawing.render(metric, f"{title} over k", words + band, draw)


def _precision_recall(runs: Sequence[RunFiles]) -> drawing.Figure:
  def draw(figure):
    axes = figure.subplots()
    for place, run in enumerate(runs):
      precision, recall = curves.precision_recall(run)
      axes.plot(
        recall,
        precision,
        marker=".",
        markersize=4,
        color=drawing.colour(place),
        label=drawing.label(run.name),
      )
    axes.set(xlabel="recall", ylabel="precision", xlim=(0, 1), ylim=(0, 1.02))
    drawing.legend(axes)

  return drawing.render(
    "precision_recall",
    "Precision and recall",
    "Each point is a Hamming radius, from 0 on the left to all bits on the"
    " right. Precision is the mean over queries that retrieve anything at that"
    " radius.",
    draw,
  )


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
    " smaller their distances should be.",
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
  """Return a run's name in a form fit for file names and element ids."""
  return re.sub(r"\W+", "-", run.name, flags=re.ASCII).strip("-") or "run"
