"""Writes what is done of a table to its folder."""

import pathlib

from benchmarks.tables import cells, rows, table_files, table_plot, table_text
from dsh_jax import files


def write(table: cells.Table, workdir: pathlib.Path) -> pathlib.Path:
  """Writes table.md, table.csv, table.tex and table.png; each whole or not.

  Args:
    table: What the cells should be.
    workdir: Where they are.

  Returns:
    The path of table.md.
  """
  contents = rows.collect(table, workdir)
  texts = {
    "table.md": table_text.markdown(table, contents),
    "table.csv": table_files.to_csv(contents),
    "table.tex": table_files.to_tex(table, contents),
  }
  workdir.mkdir(parents=True, exist_ok=True)
  for name, text in texts.items():
    with files.replacing(workdir / name) as partial:
      partial.write_text(text, encoding="utf-8")
  if any(row.scores for row in contents.rows):
    with files.replacing(workdir / "table.png") as partial:
      table_plot.save(table, contents, partial)
  return workdir / "table.md"
