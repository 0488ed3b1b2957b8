"""The help of every command is shown before anything slow is imported."""

import importlib
import json
import subprocess
import sys

import commands
import pytest

from dsh_jax import __main__, late

# Shows the help of each command in a fork of one process.
_SHOW = """
import json, os, sys
from dsh_jax import __main__

shown = {}
for name in __main__.COMMANDS:
  reader, writer = os.pipe()
  if os.fork() == 0:
    os.dup2(writer, 1)
    sys.argv = ["dsh_jax", name, "--help"]
    try:
      __main__.run()
    except SystemExit as error:
      slow = {"jax._src", "flax.core", "tensorflow_datasets", "numba"}
      print(sorted(slow & set(sys.modules)), error.code, flush=True)
    os._exit(0)
  os.close(writer)
  with open(reader) as text:
    shown[name] = text.read()
print(json.dumps(shown))
"""


@pytest.fixture(scope="module")
def shown():
  """Name of a command -> its help, and what had been imported."""
  process = subprocess.run(
    [sys.executable, "-c", _SHOW],
    cwd=commands.ROOT,
    capture_output=True,
    text=True,
    timeout=100,
    check=True,
  )
  return json.loads(process.stdout)


@pytest.mark.parametrize("name", list(__main__.COMMANDS))
def test_help_is_whole_and_imports_nothing_slow(shown, name):
  text, _, end = shown[name].strip().rpartition("\n")
  module = importlib.import_module(__main__.COMMANDS[name][0])
  assert text.startswith(module.__doc__.strip()[:60])
  assert "\nFlags:" in text and "\n  --" in text
  assert end == "[] 0"


def test_a_module_is_read_when_it_is_used(tmp_path, monkeypatch):
  package = tmp_path / "slow_package"
  package.mkdir()
  (package / "__init__.py").write_text("print('read')\nfrom . import part")
  (package / "part.py").write_text("print('part')\nX = 1")
  monkeypatch.syspath_prepend(tmp_path)
  monkeypatch.setattr(late, "_packages", {"slow_package"})
  monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
  late.install()
  read = []
  monkeypatch.setattr("builtins.print", read.append)
  from slow_package import part

  assert read == []
  assert part.X == 1 and read == ["part"]
  for name in ("slow_package", "slow_package.part"):
    monkeypatch.delitem(sys.modules, name)
