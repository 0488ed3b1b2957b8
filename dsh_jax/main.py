"""Trains and evaluates one configuration."""

import os
import pathlib
import sys
from collections.abc import Sequence

import jax
from absl import flags
from ml_collections import config_flags

from dsh_jax import data, errors, parallel, train
from dsh_jax.apps import command, commands
from dsh_jax.config import config_files, fields
from dsh_jax.runs import cluster, interrupts, summary


def main(argv: Sequence[str]) -> None:
  """Trains and scores what the flags say.

  Args:
    argv: The command line without its name.

  Raises:
    Error: As `train.train_and_evaluate`, or a flag or field is wrong.
    SystemExit: 128 + the number of a signal that stopped the run.
  """
  given = _parse(argv)
  config = given.config
  if config.deterministic:  # Read when the first device is asked for.
    xla_flags = os.environ.get("XLA_FLAGS", "")
    os.environ["XLA_FLAGS"] = f"{xla_flags} --xla_gpu_deterministic_ops=true"
  workdir = given.workdir or (
    f"runs/{config.data.name}-{config.method}-{config.bits}-{config.seed}"
  )
  if given.distributed:
    cluster.join(
      given.coordinator,
      given.num_processes,
      given.process_id,
      given.initialization_timeout,
    )
    # Host 0 writes what all read: the one folder that they are known to share.
    _keep_compiled(os.path.join(workdir, "compiled"))
  else:
    parts = max(1, config.train.accumulate)
    parallel.use_cores(config.train.batch_size // parts)
    _keep_compiled(os.path.join(data.cache_dir(), "compiled"))
  try:
    result = train.train_and_evaluate(config, workdir)
  except interrupts.Stopped as stopped:
    print(f"dsh_jax: {stopped}", file=sys.stderr, flush=True)
    if jax.process_count() == 1:
      os._exit(stopped.code)  # Another Ctrl-C would find threads at work.
    raise
  if jax.process_index() == 0:
    print(summary.table(result))
    print(f"\nThe run is in {workdir}.")
    if given.report:
      _write_report(workdir)
    print(summary.next_steps(workdir, result["backbone"]))


def _parse(argv: Sequence[str]) -> flags.FlagValues:
  """Returns the flags; prints the choices instead if asked for them."""
  names = {word.split("=")[0] for word in argv}
  if not names & {"--config", "-config"}:
    argv = [f"--config={config_files.folder() / 'digits.py'}", *argv]
  try:
    config_files.make_importable()
    argv = config_files.find(argv)
    config_files.check(argv)
    if (choices := config_files.answer(argv)) is not None:
      print(choices)
      sys.exit(0)
    given = commands.parse("train", argv)
    given.config.lock()  # What is wrong in it is raised at first use.
    fields.check_overrides(
      given.config, config_flags.get_override_values(given["config"])
    )
    return given
  except Exception as error:  # Whatever a config file or field may raise.
    raise errors.UserError(command.reason(error)) from None


def _write_report(workdir: str) -> None:
  """Writes the report of a run that has none; its scores stand without it."""
  path = pathlib.Path(workdir, "report.html")
  try:
    if not path.exists():
      from dsh_jax import report  # A second to import.

      report.write([workdir], str(path))
  except Exception as error:
    print(f"dsh_jax: There is no report: {error}", file=sys.stderr)
  else:
    print(f"The report is {path}.")


def _keep_compiled(folder: str) -> None:
  """Keeps what an accelerator compiles for minutes, for the next run.

  JAX_COMPILATION_CACHE_DIR chooses another folder, also for a CPU; empty, it
  turns this off.

  Args:
    folder: Where; all hosts must see it.
  """
  if jax.config.jax_compilation_cache_dir is None and (
    jax.default_backend() != "cpu"
  ):
    jax.config.update("jax_compilation_cache_dir", folder)


def run() -> None:
  """Runs the command."""
  command.run(main)


if __name__ == "__main__":
  run()
