"""Runs a module once for each list of arguments, in forks of one process.

  python tests/forked.py MODULE

Standard input is a JSON list of such lists, standard output a JSON list of
[exit code, standard output, standard error]. What takes seconds to import is
imported once; each fork is `python -m MODULE` from then on.
"""

import json
import os
import runpy
import sys
import tempfile
import traceback

# Imported for those that follow.
from dsh_jax import train  # noqa: F401


def run_here(arguments, module="dsh_jax.main"):
  """Run the module in this process; return its exit code."""
  code = 0
  sys.argv = [module, *arguments]
  try:
    runpy.run_module(module, run_name="__main__", alter_sys=True)
  except SystemExit as exit:
    code = exit.code or 0
  except BaseException:
    traceback.print_exc()
    code = 1
  return code


def _run_in_fork(arguments, module):
  with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
    process = os.fork()
    if process == 0:
      os.dup2(out.fileno(), 1)
      os.dup2(err.fileno(), 2)
      code = run_here(arguments, module)
      sys.stdout.flush()
      sys.stderr.flush()
      os._exit(code)
    _, status = os.waitpid(process, 0)
    texts = []
    for file in (out, err):
      file.seek(0)
      texts.append(file.read())
  return [os.waitstatus_to_exitcode(status), *texts]


if __name__ == "__main__":
  lists = json.load(sys.stdin)
  json.dump([_run_in_fork(one, sys.argv[1]) for one in lists], sys.stdout)
