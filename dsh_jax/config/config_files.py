"""Where the config files are, in the repository and where it is installed.

Config files lie in `configs` at the top of the repository, and in
`dsh_jax/configs` of an installed package. They import each other as
`from configs import default`, whichever folder the command is started in.
"""

import importlib
import pathlib
import runpy
import sys
import textwrap
import types
from collections.abc import Sequence
from typing import Any

from dsh_jax import MAX_BITS, data, errors, models
from dsh_jax.config import fields

_PACKAGE = "configs"
_FLAG = "--config"
# What the config files of data sets share.
_NO_JOBS = ("default.py", "methods.py", "photos.py")


def folder() -> pathlib.Path:
  """Returns the folder of the config files that belong to this code."""
  package = pathlib.Path(__file__).parents[1]
  installed = package / _PACKAGE
  return installed if installed.is_dir() else package.parent / _PACKAGE


def make_importable() -> None:
  """Lets `from configs import ...` find this folder and no other.

  A folder named configs is a habit of many projects: without this, the one in
  the working directory would be taken.
  """
  held = sys.modules.get(_PACKAGE)
  if held is not None and str(folder()) in map(str, held.__path__):
    return
  package = types.ModuleType(_PACKAGE, "The config files of dsh_jax.")
  package.__path__ = [str(folder())]
  sys.modules[_PACKAGE] = package


def presets() -> dict[str, dict[str, Any]]:
  """Returns METHODS of configs/methods.py."""
  make_importable()
  return importlib.import_module(f"{_PACKAGE}.methods").METHODS


def find(argv: Sequence[str]) -> list[str]:
  """Lets `--config=configs/NAME.py` mean the installed file where none is.

  Args:
    argv: A command line.

  Returns:
    The command line, with the path of a config file replaced if there is no
    such file here but one in `folder()`.
  """
  found = list(argv)
  for place, file, argument in _config_flags(argv):
    path = pathlib.Path(file)
    if not path.is_file() and path.parts[:1] == (_PACKAGE,):
      path = folder().joinpath(*path.parts[1:])
      if path.is_file():
        prefix = f"{_FLAG}=" if argv[place].startswith(f"{_FLAG}=") else ""
        found[place] = prefix + str(path) + argument
  return found


def check(argv: Sequence[str]) -> None:
  """Checks that the config files of a command line are there.

  Args:
    argv: A command line, as `find` returned it.

  Raises:
    UserError: One is not; the nearest name is suggested.
  """
  for _, file, _ in _config_flags(argv):
    if not pathlib.Path(file).is_file():
      names = (path.name for path in folder().glob("*.py"))
      known = [f"{_PACKAGE}/{name}" for name in names if name not in _NO_JOBS]
      field = f"{_FLAG}; a path of your own does too"
      raise errors.unknown("config file", file, known, field)


def answer(argv: Sequence[str]) -> str | None:
  """Returns what can be chosen, if the command line asks with `=?`.

  Args:
    argv: A command line, such as `--config=configs/digits.py:method=?`.

  Returns:
    The methods, bits, backbones and protocols, as lines of text; None if
    nothing is asked.
  """
  for _, file, argument in _config_flags(argv):
    if argument.endswith("=?"):
      return _choices(file)
  return None


def _config_flags(argv: Sequence[str]) -> list[tuple[int, str, str]]:
  """Returns place, file and ":argument" of the config flags."""
  flags = []
  for place, word in enumerate(argv):
    name, equals, value = word.partition("=")
    if name == _FLAG and equals:
      flags.append((place, value))
    elif name == _FLAG and place + 1 < len(argv):
      flags.append((place + 1, argv[place + 1]))
  parts = [(place, *value.partition(":")) for place, value in flags]
  return [(place, file, colon + rest) for place, file, colon, rest in parts]


def _choices(file: str) -> str:
  config = runpy.run_path(file)["get_config"]()
  methods = presets()
  width = max(map(len, methods))
  lines = [f"method={config.method}   one of"]
  lines += [f"  {name:<{width}}  {methods[name]['source']}" for name in methods]
  lines.append(f"  {fields.AUTO:<{width}}  Each on features, and one is kept")
  lines.append(f"bits={config.bits}   1 to {MAX_BITS}")
  lines.append(f"backbone={config.model.backbone}   one of")
  lines += _wrapped(models.BACKBONES)
  protocols = data.DATASETS[config.data.name].protocols
  lines.append(
    f"protocol={config.data.protocol or next(iter(protocols))}   one of"
  )
  lines += _wrapped(protocols)
  lines.append(f"epochs={config.train.num_epochs}, seed={config.seed}")
  lines.append(
    f"For example {_FLAG}={file}:method=dsrh,bits=32; every other field of"
    " configs/default.py as --config.FIELD=VALUE."
  )
  return "\n".join(lines)


def _wrapped(names) -> list[str]:
  return textwrap.wrap(
    ", ".join(names), 78, initial_indent="  ", subsequent_indent="  "
  )
