"""Figures that show all runs of the report together."""

from collections.abc import Iterator, Sequence
from typing import Any

import matplotlib.axes
import numpy as np

from dsh_jax.report import curves, drawing
from dsh_jax.report.comparison import Setting
from dsh_jax.report.run_files import RunFiles

_SELECTION_SPLITS = ("validation", "test")  # Their queries choose the epoch.
_MAX_BANDS = 4  # More would hide each other.


def shared(settings: Sequence[Setting]) -> list[drawing.Figure]:
  """Return the figures that show all settings together."""
  runs = [run for setting in settings for run in setting.runs]
  figures = []
  if any(run.series("train/loss")[0] for run in runs):
    figures.append(_loss(settings))
  if any(_validation_names(setting) for setting in settings):
    figures.append(_validation(settings))
  return [
    *figures,
    _over_k(
      settings,
      "ndcg",
      "NDCG@k",
      "Rank quality of the first k items; 1 is the best possible order.",
    ),
    _over_k(
      settings,
      "acg",
      "ACG@k",
      "Mean number of labels shared with the query among the first k.",
    ),
    _precision_recall(settings),
    _ties(settings),
  ]


def _plot(
  axes: matplotlib.axes.Axes, setting: Setting, name: str, **options
) -> None:
  """Plot a logged scalar of every seed; only the first has a label."""
  for place, run in enumerate(setting.runs):
    axes.plot(
      *run.series(name),
      **{"label": drawing.label(setting.name)} | drawing.line(setting.place)
      | options | ({"label": None} if place else {}),
    )  # fmt: skip


def _loss(settings: Sequence[Setting]) -> drawing.Figure:
  """Draw one panel per loss: values of different losses do not compare."""
  names = list(dict.fromkeys(s.runs[0].config["loss.name"] for s in settings))
  columns = 1 if len(names) < 3 else 2
  rows = -(-len(names) // columns)

  def draw(figure):
    panels = figure.subplots(rows, columns, squeeze=False, sharex=True).ravel()
    for panel in panels[len(names) :]:
      panel.set_axis_off()
    for panel, name in zip(panels, names, strict=False):
      members = [s for s in settings if s.runs[0].config["loss.name"] == name]
      is_alone = len(members) == 1
      if len(settings) == 1:
        _plot_terms(panel, settings[0])
      else:
        for setting in members:
          text = None if is_alone else drawing.label(setting.name)
          _plot(panel, setting, "train/loss", label=text)
        panel.set_title(members[0].name if is_alone else name, fontsize=9)
      drawing.legend(panel, fontsize=7)
    for panel in panels[max(0, len(names) - columns) : len(names)]:
      panel.set(xlabel="epoch")
      panel.tick_params(labelbottom=True)
    figure.supylabel("loss", fontsize=10)

  return drawing.render(
    "loss",
    "Training loss",
    "The loss of single batches"
    + (
      ", with its terms."
      if len(settings) == 1
      else ", each loss on its own axes."
    ),
    draw,
    size=(5.0, max(3.3, 1.7 * rows)),
  )


def _plot_terms(axes, setting):
  hidden = {"train/gradient_norm", "train/soft_pairs", "train/loss"}
  logged = {name for line in setting.runs[0].log for name in line}
  terms = sorted(n for n in logged - hidden if n.startswith("train/"))
  for place, name in enumerate(["train/loss", *terms]):
    label = drawing.label(name.removeprefix("train/"))
    _plot(axes, setting, name, color=drawing.colour(place), label=label)


def _validation_names(setting: Setting) -> list[str]:
  names = {name for line in setting.runs[0].log for name in line}
  return sorted(
    name for name in names if name.split("/")[0] in _SELECTION_SPLITS
  )


def _validation(settings: Sequence[Setting]) -> drawing.Figure:
  names = list(dict.fromkeys(n for s in settings for n in _validation_names(s)))
  if len(settings) > 1:  # Only the metric that chose the epoch.
    chosen = settings[0].runs[0].config["eval.select_metric"]
    names = [name for name in names if name.endswith(f"/{chosen}")] or names[:1]

  def draw(figure):
    axes = figure.subplots()
    for setting in settings:
      options = {"marker": "o", "markersize": 3}
      for place, name in enumerate(names):
        if len(settings) == 1:
          options |= drawing.line(place) | {"label": drawing.label(name)}
        _plot(axes, setting, name, **options)
      if len(settings) == 1:
        for run in setting.runs:
          axes.axvline(run.result["selected_epoch"], color=drawing.INK, lw=0.6)
    axes.set(xlabel="epoch", ylabel=names[0] if len(names) == 1 else "score")
    drawing.legend(axes)

  line = " Vertical line: the epoch whose weights were kept."
  return drawing.render(
    "validation",
    "Scores while training",
    "Validation queries search the training images."
    + (line if len(settings) == 1 else ""),
    draw,
  )


def _over_k(
  settings: Sequence[Setting], metric: str, title: str, meaning: str
) -> drawing.Figure:
  banded = len(settings) <= _MAX_BANDS

  def draw(figure):
    axes = figure.subplots()
    for setting in settings:
      seeds = [curves.by_cut_off(run, metric) for run in setting.runs]
      ks = seeds[0][0]
      means = {
        kind: np.mean([means[kind] for _, means in seeds], axis=0)
        for kind in seeds[0][1]
      }
      if banded:
        axes.fill_between(
          ks,
          means["pessimistic"],
          means["optimistic"],
          color=setting.colour,
          alpha=0.2,
          lw=0,
        )
      axes.plot(
        ks,
        means["expected"],
        label=drawing.label(setting.name),
        **drawing.line(setting.place),
      )
      is_first = setting is settings[0]
      axes.plot(
        ks,
        means["chance"],
        color=drawing.INK,
        lw=1,
        alpha=0.6,
        linestyle=(0, (1, 2)),
        label="chance" if is_first else None,
      )
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.set(xlabel="k", ylabel=title)
    axes.set_ylim(bottom=0)
    drawing.legend(axes)

  band = " Band: worst to best order." if banded else ""
  line = " Line: mean over all orders of tied items."
  return drawing.render(
    metric, f"{title} over k", f"{meaning}{line}{band} Dotted: chance.", draw
  )


def _lines(
  settings: Sequence[Setting],
) -> Iterator[tuple[RunFiles, dict[str, Any]]]:
  """Yield every run and the options of its line; first seeds have labels."""
  for setting in settings:
    for place, run in enumerate(setting.runs):
      label = None if place else drawing.label(setting.name)
      options = {"marker": ".", "markersize": 4, "label": label}
      yield run, options | drawing.line(setting.place)


def _precision_recall(settings: Sequence[Setting]) -> drawing.Figure:
  def draw(figure):
    axes = figure.subplots()
    for run, options in _lines(settings):
      precision, recall = curves.precision_recall(run)
      axes.plot(recall, precision, **options)
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


def _ties(settings: Sequence[Setting]) -> drawing.Figure:
  def draw(figure):
    axes = figure.subplots()
    for run, options in _lines(settings):
      counts = run.histogram.sum(axis=(0, 2)) / len(run.histogram)
      axes.plot(np.where(counts > 0, counts, np.nan), **options)
    axes.set(xlabel="Hamming distance", ylabel="items of a query")
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter("{x:,.9g}")
    drawing.legend(axes)

  return drawing.render(
    "ties",
    "Ties at each distance",
    "Mean number of items at that distance from a query. They are tied: their"
    " order is arbitrary.",
    draw,
  )
