"""How a figure is drawn: once, as SVG for light and dark and as PNG.

Lines, ticks and words are drawn in one colour that does not occur elsewhere,
which in the SVG becomes `currentColor`: the page's own colour of text.
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

INK = "#010203"
# Told apart on white and on black, and by most colour-blind eyes.
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
  """A drawn figure.

  Attributes:
    name: A short name, for files and ids.
    title: Its title on the page.
    caption: What it shows and how it is read.
    svg: An element for the page, in the page's colour of text.
    png: The same on white, a PNG file.
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
  """Draws a figure and encodes it.

  Args:
    name: A short name, for files and ids.
    title: Its title on the page.
    caption: What it shows and how it is read.
    draw: Draws into an empty matplotlib figure.
    size: Width and height, inches; 150 pixels each in the PNG.
  """
  style = _STYLE | {"svg.hashsalt": name}
  with matplotlib.rc_context(style), warnings.catch_warnings():
    # A font without the glyphs of a label draws boxes; it is no error.
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
  """Returns an SVG file as an element of a page."""
  svg = svg[svg.index("<svg") :]
  svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
  svg = svg.replace(INK, "currentColor")
  # Numbered the same in every figure, and an id is unique in a page.
  svg = re.sub(r'\bid="([A-Za-z]+[\w.]*_\d+)"', rf'id="{name}-\1"', svg)
  head, rest = svg.split(">", 1)
  head = re.sub(r' (width|height)="[^"]*"', "", head)
  return f'{head} role="img" aria-label="{html.escape(title)}">{rest}'


def colour(place: int) -> str:
  """Returns the colour, "#rrggbb", at a place of a legend, from 0."""
  return COLOURS[place % len(COLOURS)]


def legend(axes: matplotlib.axes.Axes, **options) -> None:
  """Adds a legend where a line has a name.

  Args:
    axes: Where the lines are.
    **options: Of matplotlib's legend.
  """
  handles, _ = axes.get_legend_handles_labels()
  if handles:
    axes.legend(**options)


def label(name: str) -> str:
  """Returns a legend's text; a leading underscore would hide the line."""
  return f" {name}" if name.startswith("_") else name
