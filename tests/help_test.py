"""The help of every command is whole, and shown before JAX is imported."""

import json
import subprocess
import sys

import commands
import pytest

from dsh_jax.apps import commands as commands_lib
from dsh_jax.retrieval import evaluation

# Shows the help of each command in a fork of one process.
_SHOW = """
import json, os, sys
from dsh_jax import __main__

shown = {}
for name in __main__.commands_lib.COMMANDS:
  reader, writer = os.pipe()
  if os.fork() == 0:
    os.dup2(writer, 1)
    sys.argv = ["dsh_jax", name, "--help"]
    try:
      __main__.run()
    except SystemExit as error:
      print("jax" in sys.modules, error.code, flush=True)
    os._exit(0)
  os.close(writer)
  with open(reader) as text:
    shown[name] = text.read()
print(json.dumps(shown))
"""


@pytest.fixture(scope="module")
def shown():
  """Name of a command -> its help, and whether JAX was imported."""
  process = subprocess.run(
    [sys.executable, "-c", _SHOW],
    cwd=commands.ROOT,
    capture_output=True,
    text=True,
    timeout=100,
    check=True,
  )
  return json.loads(process.stdout)


@pytest.mark.parametrize("name", list(commands_lib.COMMANDS))
def test_help_is_whole_and_shown_before_jax_is_imported(shown, name):
  text, _, end = shown[name].strip().rpartition("\n")
  known = commands_lib.COMMANDS[name]
  assert text.startswith(known.help.strip()) and "\nFlags:" in text
  for flag in known.flags:
    assert f"\n  --{flag}: " in text
  assert end == "False 0"


def test_flags_that_may_be_repeated_and_defaults_are_said(shown):
  assert not any("repeat this option" in text for text in shown.values())
  assert "may be repeated. Default: runs/*.\n" in shown["runs"]
  assert "0 for any. Default: 8000.\n" in shown["serve"]
  assert "not started.\n    Default: 300.\n" in shown["train"]


def test_all_metrics_are_in_the_help(shown):
  for metric in evaluation.METRICS:
    assert metric in shown["evaluate"]
