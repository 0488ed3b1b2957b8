"""Tables of scores for papers."""

import math
from collections.abc import Sequence

_ESCAPED = {"_": r"\_", "%": r"\%", "&": r"\&", "#": r"\#", "$": r"\$"}
NEEDS = "% Needs \\usepackage{booktabs}."


def escape(text: str) -> str:
  """Return text escaped for LaTeX; <= becomes its sign."""
  text = "".join(_ESCAPED.get(letter, letter) for letter in text)
  return text.replace("<=", r"$\leq$")


def score(mean: float, half_width: float, mark: str) -> str:
  """Return a cell of a table.

  Args:
    mean: The score; nan makes the cell empty.
    half_width: Half-width of its interval; nan omits it.
    mark: "best" is bold, "equal" has a star.
  """
  if math.isnan(mean):
    return ""
  text = f"{mean:.3f}"
  if mark == "best":
    text = rf"\textbf{{{text}}}"
  if not math.isnan(half_width):
    text += rf" {{\scriptsize $\pm${half_width:.3f}}}"
  return text + ("$^*$" if mark == "equal" else "")


def tabular(
  title: str, head: Sequence[str], rows: Sequence[Sequence[str]]
) -> str:
  """Return a tabular.

  Args:
    title: Comment above it, plain text.
    head: Names of the columns, plain text.
    rows: Cells in LaTeX; an empty row is a rule.
  """
  lines = [
    f"% {escape(title)}",
    rf"\begin{{tabular}}{{l{'c' * (len(head) - 1)}}}",
    r"\toprule",
    " & ".join(map(escape, head)) + r" \\",
    r"\midrule",
    *(" & ".join(row) + r" \\" if row else r"\midrule" for row in rows),
    r"\bottomrule",
    r"\end{tabular}",
  ]
  return "\n".join(lines)
