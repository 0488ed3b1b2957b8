"""Runs cells one after another in this process.

Imports and compiled programs are shared, so a run takes only the time of its
steps. The code and results are those of the command line.
"""

import contextlib
import sys
import time
import traceback
from collections.abc import Callable, Iterable

from benchmarks.tables import processes, runner
from dsh_jax import errors

_POLL_SECS = 2.0


def run(
  items: Iterable,
  make_job: Callable[[object], runner.Job | str | None],
  after_each: Callable[[runner.Job, str, float], None],
) -> None:
  """Run a list of things, in order where possible.

  A failed run is recorded and the others continue. A run that waits for one of
  another process is polled.

  Args:
    items: Things to run.
    make_job: As for `processes.run`.
    after_each: As for `processes.run`.

  Raises:
    SystemExit: A signal arrived; the current run resumes when it is started
      again.
  """
  pending = list(items)
  while pending:
    job = runner.next_job(pending, make_job)
    if job is None:
      if pending:  # Another shard has not finished the runs they need.
        time.sleep(_POLL_SECS)
      continue
    secs = 0.0
    if runner.state(job.folder, job.settings) == runner.WAITING:
      started = time.monotonic()
      if job.command[1:3] == ["-m", "dsh_jax.main"]:
        _run_here(job)
      else:
        processes.run([job], lambda job: job, 1, lambda *_: None)
      secs = time.monotonic() - started
    after_each(job, runner.state(job.folder, job.settings), secs)


def _run_here(job):
  from dsh_jax import main  # Imports JAX, which takes seconds.

  runner.write_cell(job, [])
  started = time.monotonic()
  error = ""
  argv, sys.argv = sys.argv, job.command[2:]  # Read by ml_collections.
  with (
    open(job.folder / "log.txt", "a", buffering=1, encoding="utf-8") as log,
    contextlib.redirect_stdout(log),
    contextlib.redirect_stderr(log),
  ):
    try:
      main.main(job.command[3:])
    except errors.Error as raised:
      error = f"dsh_jax: {' '.join(str(raised).split())}"
      print(error)
    except Exception as raised:
      traceback.print_exc()
      error = errors.describe(raised)
    finally:
      sys.argv = argv
  secs = time.monotonic() - started
  if error:
    runner.write_failure(job, error, 1, secs)
  else:
    runner.write_secs(job, secs)
