"""Runs the command as several hosts, in forks of one process.

  python tests/hosts.py COUNT PORT ARGUMENTS...

What takes seconds to import is imported once. Prints the number of each
process at the start and its exit code at the end. "{host}" in an argument
becomes the number of the host. Variables of the environment:

  DSH_JAX_READS  JSON {step: [errno, ...]}: how host 1 fails to read a
                 checkpoint, one number an attempt; 0 is a damaged file.
  DSH_JAX_SLOW   METHOD:FILE. Every host makes the file when it begins a method
                 of the scorer, in which each batch takes a second more.
"""

import json
import os
import pathlib
import sys
import time
import warnings

import forked

from dsh_jax.runs import checkpoint, scoring


def _fail_to_read(plan):
  read = checkpoint.Checkpoints._read

  def read_or_fail(self, step, *like):
    if numbers := plan.get(str(step)):
      if number := numbers.pop(0):
        raise OSError(number, os.strerror(number))
      raise checkpoint.DamagedError("wrong bytes")
    return read(self, step, *like)

  checkpoint.Checkpoints._read = read_or_fail


def _score_slowly(name, mark):
  score = getattr(scoring.Scorer, name)

  def score_slowly(self, *arguments):
    pathlib.Path(mark).touch()
    scoring.Scorer._encode = encode_slowly
    return score(self, *arguments)

  def encode_slowly(self, encode, weights, split, *check):
    def take(rows):
      time.sleep(1)
      return split.take(rows)

    return encode(weights, take, len(split), *check)

  setattr(scoring.Scorer, name, score_slowly)


def _main(count, port, *arguments):
  joined = []
  if count > 1:
    joined = [
      "--distributed",
      f"--coordinator=127.0.0.1:{port}",
      f"--num_processes={count}",
    ]
  if slow := os.environ.get("DSH_JAX_SLOW"):
    _score_slowly(*slow.split(":", 1))
  children = []
  for index in range(count):
    if (child := os.fork()) == 0:
      if index == 1:
        _fail_to_read(json.loads(os.environ.get("DSH_JAX_READS", "{}")))
      own = [f"--process_id={index}"] if joined else []
      given = [one.replace("{host}", str(index)) for one in arguments]
      sys.exit(forked.run_here([*given, *joined, *own]))
    children.append(child)
  print(*children, flush=True)
  print(*[os.waitstatus_to_exitcode(os.waitpid(c, 0)[1]) for c in children])


if __name__ == "__main__":
  warnings.simplefilter("ignore", RuntimeWarning)  # JAX warns of any fork.
  _main(int(sys.argv[1]), int(sys.argv[2]), *sys.argv[3:])
