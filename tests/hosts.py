"""Runs the command as several hosts, in forks of one process.

  python tests/hosts.py COUNT PORT ARGUMENTS...

What takes seconds to import is imported once. Prints the number of each
process at the start and its exit code at the end.
"""

import os
import runpy
import sys
import traceback
import warnings

# Imported for the forks, before any of them has a device or a thread.
from dsh_jax import train  # noqa: F401


def _run_here(arguments):
  """Runs the command in this process and ends it."""
  code = 0
  sys.argv = ["dsh_jax.main", *arguments]
  try:
    runpy.run_module("dsh_jax.main", run_name="__main__", alter_sys=True)
  except SystemExit as exit:
    code = exit.code or 0
  except BaseException:
    traceback.print_exc()
    code = 1
  sys.exit(code)


def _main(count, port, *arguments):
  joined = []
  if count > 1:
    joined = [
      "--distributed",
      f"--coordinator=127.0.0.1:{port}",
      f"--num_processes={count}",
    ]
  children = []
  for index in range(count):
    if (child := os.fork()) == 0:
      own = [f"--process_id={index}"] if joined else []
      _run_here([*arguments, *joined, *own])
    children.append(child)
  print(*children, flush=True)
  print(*[os.waitstatus_to_exitcode(os.waitpid(c, 0)[1]) for c in children])


if __name__ == "__main__":
  warnings.simplefilter("ignore", RuntimeWarning)  # JAX warns of any fork.
  _main(int(sys.argv[1]), int(sys.argv[2]), *sys.argv[3:])
