"""Tables in Markdown."""

from collections.abc import Iterable, Sequence


def distinct(values: Iterable[object]) -> list[str]:
  """Return the different values as text, in order of appearance."""
  return list(dict.fromkeys(str(v) for v in values if v not in (None, "")))


def grid_lines(head: Sequence[str], lines: Iterable[Sequence[object]]) -> str:
  """Return a Markdown table, aligned to be readable as text."""
  texts = [[str(cell).replace("|", "\\|") for cell in line] for line in lines]
  widths = [
    max(3, *(len(line[column]) for line in (list(head), *texts)))
    for column in range(len(head))
  ]

  def join(line):
    padded = (cell.ljust(w) for cell, w in zip(line, widths, strict=True))
    return f"| {' | '.join(padded)} |"

  rule = join(["-" * width for width in widths])
  return "\n".join([join(head), rule, *(join(line) for line in texts)])
