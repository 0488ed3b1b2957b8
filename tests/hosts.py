"""Runs the command as several hosts, in forks of one process.

  python tests/hosts.py COUNT PORT ARGUMENTS...

What takes seconds to import is imported once. Prints the number of each
process at the start and its exit code at the end.
"""

import os
import sys
import warnings

import forked


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
      sys.exit(forked.run_here([*arguments, *joined, *own]))
    children.append(child)
  print(*children, flush=True)
  print(*[os.waitstatus_to_exitcode(os.waitpid(c, 0)[1]) for c in children])


if __name__ == "__main__":
  warnings.simplefilter("ignore", RuntimeWarning)  # JAX warns of any fork.
  _main(int(sys.argv[1]), int(sys.argv[2]), *sys.argv[3:])
