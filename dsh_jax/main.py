"""Trains and evaluates one configuration.

python -m dsh_jax.main --config=configs/digits.py:method=idhn,bits=48 \\
  --workdir=runs/idhn48
"""

import os
import pathlib
import sys

# Set before anything is imported that would print pages about itself.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
os.environ.setdefault("GRPC_VERBOSITY", "ERROR")

import jax
from absl import app, flags, logging
from ml_collections import config_flags

from dsh_jax import (
  command,
  config_files,
  data,
  errors,
  interrupts,
  parallel,
  summary,
  train,
)

_CONFIG = config_flags.DEFINE_config_file(
  "config",
  None,  # A default would be read, and its errors raised, at import.
  "FILE or FILE:method=...,bits=...; --config.FIELD=VALUE changes a field."
  " FILE:method=? lists what there is. Default: configs/digits.py.",
  lock_config=True,
)
_WORKDIR = flags.DEFINE_string(
  "workdir",
  "",
  "Folder of the run. The same command again continues there. Default:"
  " runs/DATASET-METHOD-BITS-SEED.",
)
_REPORT = flags.DEFINE_bool(
  "report", True, "Write report.html into the folder of the run at its end."
)
_DISTRIBUTED = flags.DEFINE_bool(
  "distributed",
  False,
  "Join the other hosts of a TPU slice or GPU cluster, which are found"
  " automatically unless the three flags below are given.",
)
_COORDINATOR = flags.DEFINE_string(
  "coordinator", None, "HOST:PORT of process 0."
)
_NUM_PROCESSES = flags.DEFINE_integer(
  "num_processes", None, "Number of processes in all."
)
_PROCESS_ID = flags.DEFINE_integer(
  "process_id", None, "Number of this process, from 0."
)

_CONFIG_WORDS = ("--config", "-config")

# Besides 0, command.EXIT_USER_ERROR, and 128 + the number of a signal that
# stopped the run.
EXIT_NONFINITE = 3
EXIT_STORAGE = 4


def main(argv: list[str]) -> None:
  """Runs what the flags say; ends the process with a code if it cannot.

  Args:
    argv: The name of the program, and what is no flag.

  Raises:
    SystemExit: `command.EXIT_USER_ERROR`, `EXIT_NONFINITE`, or 128 + the
      number of a signal. A full disk ends the process at once, with
      `EXIT_STORAGE`.
  """
  logging.set_verbosity(logging.WARNING)  # Orbax tells much at INFO.
  if len(argv) > 1:
    _fail(
      f"Unexpected argument {argv[1]!r}; all are --flags.",
      command.EXIT_USER_ERROR,
    )
  config = _CONFIG.value
  if config.deterministic:  # Read when the first device is asked for.
    given = os.environ.get("XLA_FLAGS", "")
    os.environ["XLA_FLAGS"] = f"{given} --xla_gpu_deterministic_ops=true"
  if _DISTRIBUTED.value:
    _join_hosts()
  else:
    parts = max(1, config.train.accumulate)
    parallel.use_cores(config.train.batch_size // parts)
    _keep_compiled()
  workdir = _WORKDIR.value or (
    f"runs/{config.data.name}-{config.method}-{config.bits}-{config.seed}"
  )
  try:
    result = train.train_and_evaluate(config, workdir)
  except errors.UserError as error:
    _fail(error, command.EXIT_USER_ERROR)
  except errors.NonFiniteError as error:
    _fail(error, EXIT_NONFINITE)
  except errors.StorageError as error:
    _tell(error)
    # Threads of orbax that a full disk stopped halfway would complain at an
    # orderly end.
    os._exit(EXIT_STORAGE)
  except interrupts.Stopped as stopped:
    _fail(stopped, stopped.code)
  if jax.process_index() == 0:
    print(summary.table(result))
    print(f"\nThe run is in {workdir}.")
    if _REPORT.value:
      _write_report(workdir)
    print(summary.next_steps(workdir))


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


def _keep_compiled() -> None:
  """Keeps what an accelerator compiles for minutes, for the next run.

  JAX_COMPILATION_CACHE_DIR chooses the folder, also for a CPU and for several
  hosts, which need one that all of them see; empty, it turns this off.
  """
  if jax.config.jax_compilation_cache_dir is None and (
    jax.default_backend() != "cpu"
  ):
    folder = os.path.join(data.cache_dir(), "compiled")
    jax.config.update("jax_compilation_cache_dir", folder)


def _join_hosts() -> None:
  try:
    jax.distributed.initialize(
      _COORDINATOR.value, _NUM_PROCESSES.value, _PROCESS_ID.value
    )
  except (ValueError, RuntimeError) as error:
    _fail(
      f"Cannot join the other hosts: {error} Give --coordinator,"
      " --num_processes and --process_id, or leave out --distributed.",
      command.EXIT_USER_ERROR,
    )


def _parse(argv: list[str]) -> list[str]:
  """Parses flags; a wrong one is one line, not a traceback."""
  try:
    config_files.make_importable()
    argv = config_files.find(argv)
    config_files.check(argv)
    if (choices := config_files.answer(argv)) is not None:
      print(choices)
      sys.exit(0)
    rest = flags.FLAGS(argv)
    _CONFIG.value.lock()  # What is wrong in it is told at first use.
    return rest
  except Exception as error:  # Whatever a config file or field may raise.
    _fail(_reason(error), command.EXIT_USER_ERROR)


def _reason(error: BaseException) -> str:
  """Says what is wrong with a command line, without a trace of the code.

  The reader of config files puts the trace of an error into its message.
  """
  cause, found = error, None
  while cause is not None:
    if isinstance(cause, errors.UserError):
      found = cause  # The first one raised; others only quote it.
    cause = cause.__cause__ or cause.__context__
  if found is not None:
    return str(found)
  if isinstance(error, AttributeError):  # Quoted twice by ml_collections.
    text = str(error).strip("'").replace("\\'", "'").replace("\\n", " ")
    return f"A --config.FIELD of the command line does not exist: {text}"
  lines = [line for line in str(error).splitlines() if line.strip()]
  if any(line.startswith("Traceback") for line in lines):
    lines = [lines[0], lines[-1]]
  return f"Cannot use the command line: {' '.join(lines)}"


def _fail(message: object, code: int) -> None:
  _tell(message)
  sys.exit(code)


def _tell(message: object) -> None:
  text = " ".join(str(message).split())
  print(f"dsh_jax: {text}", file=sys.stderr, flush=True)


def run() -> None:
  """The console script; without --config it takes that of the digits."""
  if not any(word.split("=")[0] in _CONFIG_WORDS for word in sys.argv):
    sys.argv.insert(1, f"--config={config_files.folder() / 'digits.py'}")
  app.run(main, flags_parser=_parse)


if __name__ == "__main__":
  run()
