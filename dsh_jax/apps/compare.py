"""Writes the report of one or several finished runs."""

import os
import sys
from collections.abc import Sequence

from dsh_jax import errors, report
from dsh_jax.apps import commands, list_runs


def main(argv: Sequence[str]) -> None:
  """Run the command."""
  argv = list_runs.with_bare_words(argv)
  given = commands.parse("report", argv)
  folders = list_runs.find(given.workdir)
  if len(folders) > 1:  # For a single run, the report names the missing file.
    folders = _finished(folders)
  print(f"The report is {report.write(folders, given.out)}.")


def _finished(folders: Sequence[str]) -> list[str]:
  """Return the folders of finished runs; name the others."""
  kept = [
    folder
    for folder in folders
    if not os.path.exists(folder)  # The report raises the error.
    or os.path.exists(os.path.join(folder, "result.json"))
  ]
  left_out = [folder for folder in folders if folder not in kept]
  if left_out:
    print(
      f"dsh_jax: Left out (not finished): {', '.join(left_out)}.",
      file=sys.stderr,
    )
  if not kept:
    raise errors.UserError(
      "--workdir names no finished run. python -m dsh_jax runs lists runs."
    )
  return kept
