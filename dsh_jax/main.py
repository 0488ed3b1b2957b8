"""Train and evaluate one configuration."""

import os
import pathlib
import sys
from collections.abc import Sequence

import jax
from absl import flags
from ml_collections import config_flags

from dsh_jax import data, errors, parallel, train
from dsh_jax.apps import command, commands
from dsh_jax.config import config_files, overrides
from dsh_jax.runs import cluster, interrupts, summary


def main(argv: Sequence[str]) -> None:
  """Train and evaluate as the flags in `argv` say.

  Raises:
    Error: As `train.train_and_evaluate`, or a flag or field is invalid.
    SystemExit: 128 + the number of the signal that stopped the run.
  """
  args = _parse(argv)
  config = args.config
  if config.deterministic:  # XLA reads it at the first use of a device.
    xla_flags = os.environ.get("XLA_FLAGS", "")
    os.environ["XLA_FLAGS"] = f"{xla_flags} --xla_gpu_deterministic_ops=true"
  workdir = args.workdir or (
    f"runs/{config.data.name}-{config.method}-{config.bits}-{config.seed}"
  )
  if args.distributed:
    cluster.join(
      args.coordinator,
      args.num_processes,
      args.process_id,
      args.initialization_timeout,
    )
    # Host 0 writes for all; workdir is the only folder known to be shared.
    _cache_compiled(os.path.join(workdir, "compiled"))
  else:
    parts = max(1, config.train.accumulate)
    parallel.use_cores(config.train.batch_size // parts)
    _cache_compiled(os.path.join(data.cache_dir(), "compiled"))
  try:
    result = train.train_and_evaluate(config, workdir)
  except interrupts.Stopped as stopped:
    print(f"dsh_jax: {stopped}", file=sys.stderr, flush=True)
    if jax.process_count() == 1:
      os._exit(stopped.code)  # Do not wait for threads.
    raise
  if jax.process_index() == 0:
    print(summary.table(result))
    print(f"\nThe run is in {workdir}.")
    if args.report:
      _write_report(workdir)
    print(summary.next_steps(workdir, result["backbone"]))


def _parse(argv: Sequence[str]) -> flags.FlagValues:
  """Return the flags; for `=?`, print the choices and exit."""
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
    args = commands.parse("train", argv)
    args.config.lock()  # Raises errors of the config file.
    overrides.check(
      args.config, config_flags.get_override_values(args["config"])
    )
    return args
  except Exception as error:  # A config file can raise anything.
    raise errors.UserError(command.reason(error)) from None


def _write_report(workdir: str) -> None:
  """Write the report of a run if missing; a failure is only printed."""
  path = pathlib.Path(workdir, "report.html")
  try:
    if not path.exists():
      from dsh_jax import report  # Takes a second to import.

      report.write([workdir], str(path))
  except Exception as error:
    print(f"dsh_jax: Cannot write the report: {error}", file=sys.stderr)
  else:
    print(f"The report is {path}.")


def _cache_compiled(folder: str) -> None:
  """Cache the programs compiled for an accelerator, for the next run.

  JAX_COMPILATION_CACHE_DIR sets another folder, also for a CPU; if it is empty,
  there is no cache.

  Args:
    folder: All hosts must share it.
  """
  if jax.config.jax_compilation_cache_dir is None and (
    jax.default_backend() != "cpu"
  ):
    jax.config.update("jax_compilation_cache_dir", folder)


def run() -> None:
  """Run the command."""
  command.run(main)


if __name__ == "__main__":
  run()
