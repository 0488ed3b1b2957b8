"""Render figures as SVG for light and dark pages, and as PNG.

In the SVG, INK becomes `currentColor`, the text colour of the page.
"""

import dataclasses
import html
import io
import re
import warnings
from collections.abc import Callable

import matplotlib
import matplotlib.axes
import matplotlib.figure

INK = "#010203"  # Of lines, ticks and text; occurs nowhere else.
# Distinct on white and on black, also for most colour-blind readers.
COLOURS = ("#3f8fd2", "#d9772b", "#2f9e77", "#b46ad0", "#cf5066", "#948a1f")
_STYLE = {
  "font.size": 10,
  "text.color": INK,
  "text.parse_math": False,  # Names may hold dollar signs.
  "axes.edgecolor": INK,
  "axes.labelcolor": INK,
  "axes.spines.top": False,
  "axes.spines.right": False,
  "axes.facecolor": "none",
  "axes.grid": True,
  "grid.color": INK,
  "grid.alpha": 0.12,
  "xtick.color": INK,
  "ytick.color": INK,
  "legend.frameon": False,
  "legend.fontsize": 9,
  "figure.facecolor": "none",
  "lines.linewidth": 1.8,
  "svg.fonttype": "none",
}


@dataclasses.dataclass(frozen=True)
class Figure:
  """A rendered figure.

  Attributes:
    name: Short name, for files and ids.
    title: Title on the page.
    caption: What it shows and how to read it.
    svg: An SVG element in the text colour of the page.
    png: A PNG file with a white background.
  """

  name: str
  title: str
  caption: str
  svg: str
  png: bytes


def render(
  name: str,
  title: str,
  caption: str,
  draw: Callable[[matplotlib.figure.Figure], None],
  size: tuple[float, float] = (5.0, 3.3),
) -> Figure:
  """Draw a figure and encode it.

  Args:
    name: Short name, for files and ids.
    title: Title on the page.
    caption: What it shows and how to read it.
    draw: Draws into an empty matplotlib figure.
    size: Width and height, inches; 150 pixels each in the PNG.
  """
  style = _STYLE | {"svg.hashsalt": name}
  with matplotlib.rc_context(style), warnings.catch_warnings():
    # Glyphs that the font lacks become boxes.
    warnings.simplefilter("ignore", UserWarning)
    figure = matplotlib.figure.Figure(size, layout="constrained")
    draw(figure)
    vector, pixels = io.StringIO(), io.BytesIO()
    figure.savefig(vector, format="svg", metadata={"Date": None}, dpi=150)
    figure.savefig(pixels, format="png", dpi=150, facecolor="white")
  return Figure(
    name, title, caption, _to_element(vector.getvalue(), name, title),
    pixels.getvalue(),
  )  # fmt: skip


def _to_element(svg: str, name: str, title: str) -> str:
  """Return an SVG file as an element of a page."""
  svg = svg[svg.index("<svg") :]
  svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
  svg = svg.replace(INK, "currentColor")
  # matplotlib repeats ids in every figure; ids of a page must be unique.
  svg = re.sub(r'\bid="([A-Za-z]+[\w.]*_\d+)"', rf'id="{name}-\1"', svg)
  head, rest = svg.split(">", 1)
  head = re.sub(r' (width|height)="[^"]*"', "", head)
  return f'{head} role="img" aria-label="{html.escape(title)}">{rest}'


def colour(place: int) -> str:
  """Return the colour, "#rrggbb", of legend entry `place`, from 0."""
  return COLOURS[place % len(COLOURS)]


def line(place: int) -> dict[str, str]:
  """Return colour and style of legend entry `place`, from 0."""
  style = ("-", "--", "-.", ":")[place // len(COLOURS) % 4]
  return {"color": colour(place), "linestyle": style}


def legend(axes: matplotlib.axes.Axes, **options) -> None:
  """Add a legend if any line has a label; `options` are matplotlib's."""
  handles, _ = axes.get_legend_handles_labels()
  if len(handles) > 6:
    options = {"fontsize": 6, "ncols": 2} | options
  if handles:
    axes.legend(**options)


def label(name: str) -> str:
  """Return the legend text; matplotlib hides names that begin with _."""
  return f" {name}" if name.startswith("_") else name
