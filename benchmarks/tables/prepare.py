"""Prepares a table's data once, before any of its cells.

python -m benchmarks.tables.prepare --config=FILE:... --workdir=DIR

Written to the workdir: result.json with the sizes and checksums of the splits.
"""

import pathlib
import sys
import time
from collections.abc import Sequence

from absl import flags
from ml_collections import config_flags

from benchmarks.tables import cells, processes, runner
from dsh_jax import errors
from dsh_jax.apps import command

_NAMES = ("train", "validation", "query", "database")


def run(table: cells.Table, workdir: pathlib.Path) -> None:
  """Run this module in a separate process and wait.

  Raises:
    UserError: The data could not be prepared; the error of that process.
  """
  folder = workdir / "data"
  (folder / "result.json").unlink(missing_ok=True)
  settings = table.some_settings()
  command = [sys.executable, "-m", "benchmarks.tables.prepare"]
  job = runner.Job(
    title="data",
    command=[*command, f"--workdir={folder}", *settings],
    settings=settings,
    folder=folder,
  )
  print("Preparing the data.", flush=True)
  processes.run([job], lambda job: job, 1, lambda *_: None)
  if runner.state(folder, settings) != runner.DONE:
    raise errors.UserError(
      f"The data of {table.config} is not prepared:"
      f" {runner.error_of(folder, settings)} (log: {folder / 'log.txt'})"
    )


def describe(workdir: pathlib.Path) -> dict:
  """Return what was written about the data; {} before it is prepared."""
  return runner.read_json(workdir / "data" / "result.json")


def _main(argv: Sequence[str]) -> None:
  command.parse(argv, description=__doc__)
  from dsh_jax.config import factories

  started = time.monotonic()
  splits = factories.load_splits(flags.FLAGS.config)
  factories.weights_source(flags.FLAGS.config)  # Makes those of digits.
  runner.write_json(
    pathlib.Path(flags.FLAGS.workdir) / "result.json",
    {
      "protocol": splits.protocol,
      "sizes": {name: len(getattr(splits, name)) for name in _NAMES},
      "image_shape": list(splits.train.images.shape[1:]),
      "num_classes": splits.num_classes,
      "split_sha256": dict(splits.sha256),
      "train_in_database": splits.train_in_database,
      "seconds": time.monotonic() - started,
    },
  )


if __name__ == "__main__":
  config_flags.DEFINE_config_file("config", None, "A file of configs.")
  flags.DEFINE_string("workdir", None, "Folder of result.json.")
  command.run(_main)
