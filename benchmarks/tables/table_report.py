"""Writes the results of a table to its folder."""

import os
import pathlib

from benchmarks.tables import (
  cells,
  claims,
  critical_difference,
  rows,
  table_files,
  table_plot,
  table_text,
)
from dsh_jax import files


def write(table: cells.Table, workdir: pathlib.Path) -> pathlib.Path:
  """Write the finished runs, each file atomically.

  Files are table.md, table.csv, table.tex and table.png, and if possible
  difference.png and claims.md.

  Args:
    table: The cells.
    workdir: Their folder.

  Returns:
    The path of table.md.
  """
  contents = rows.collect(table, workdir)
  texts = {
    "table.md": table_text.markdown(table, contents),
    "table.csv": table_files.to_csv(contents),
    "table.tex": table_files.to_tex(table, contents),
  }
  if said := claims.markdown(table, contents):
    texts["claims.md"] = said
  workdir.mkdir(parents=True, exist_ok=True)
  for name, text in texts.items():
    with files.replacing(workdir / name) as partial:
      partial.write_text(text, encoding="utf-8")
  if any(row.scores for row in contents.rows):
    with files.replacing(workdir / "table.png") as partial:
      table_plot.save(table, contents, partial)
    _save_difference(table, contents, workdir / "difference.png")
  return workdir / "table.md"


def _save_difference(table, contents, path):
  temporary = path.with_name(f"{path.name}.{os.getpid()}.partial")
  if critical_difference.save(table, contents, temporary):
    temporary.replace(path)
