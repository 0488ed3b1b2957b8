"""The rows of a table that need no training, in one process.

python -m benchmarks.references --config=FILE:... --workdir=DIR \\
  --methods=lsh,itq --bits=48,64

The features are those of the backbone as training would start with it:
pretrained where the config has weights, else random.
"""

import pathlib
import sys

from benchmarks import cells, runner


def wanted(
  table: cells.Table, workdir: pathlib.Path
) -> list[tuple[int, str, pathlib.Path]]:
  """Returns (bits, method, folder) of every reference row."""
  return [
    (bits, method, _folder(workdir / "references", method, bits))
    for bits in table.reference_bits
    for method in table.reference_methods
  ]


def _folder(workdir, method, bits):
  return workdir / f"{method}_{bits}bits"


def make_job(table: cells.Table, workdir: pathlib.Path) -> runner.Job:
  """Returns the job that makes all rows; it skips those that are there."""
  folder = workdir / "references"
  settings = [
    *table.some_settings(),
    f"--methods={','.join(table.reference_methods)}",
    f"--bits={','.join(map(str, table.reference_bits))}",
  ]
  command = [sys.executable, "-m", "benchmarks.references", *settings]
  return runner.Job(
    title="references",
    command=[*command, f"--workdir={folder}"],
    settings=settings,
    folder=folder,
  )


def failures(
  table: cells.Table, workdir: pathlib.Path
) -> list[tuple[str, str, str]]:
  """Returns (title, error, folder) if the rows could not be made."""
  job = make_job(table, workdir)
  if runner.state(job.folder, job.settings) in (runner.FAILED, runner.OTHER):
    error = runner.error_of(job.folder, job.settings)
    return [(job.title, error, job.folder.name)]
  return []
