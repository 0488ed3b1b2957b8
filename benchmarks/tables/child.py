"""Starts a command that ends when the process that asked for it ends.

python -m benchmarks.tables.child PARENT CORES COMMAND...

The command replaces this process. A table killed by SIGKILL cannot end its
runs; Linux does, by a signal requested here. On other systems such a run
continues to its end.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_NICENESS = 10


def main(argv: list[str]) -> None:
  """Replace this process by the command.

  Args:
    argv: The parent's process id; the cores to use, comma-separated, "" for
      all; the command.
  """
  parent, cores, *command = argv
  os.nice(_NICENESS)
  if cores and hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, {int(core) for core in cores.split(",")})
  if sys.platform == "linux":
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != int(parent):
      raise SystemExit("The process that asked for this run has ended.")
  os.execvp(command[0], command)


if __name__ == "__main__":
  main(sys.argv[1:])
