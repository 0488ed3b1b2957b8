"""Find the config files, in the repository or in the installed package.

They are in `configs` of the repository or in `dsh_jax/configs` of an installed
package, and import each other as `from configs import default` whatever the
working directory.
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
# Imported by the config files of data sets.
_NO_JOBS = ("default.py", "methods.py", "photos.py")


def folder() -> pathlib.Path:
  """Return the folder of the config files."""
  package = pathlib.Path(__file__).parents[1]
  installed = package / _PACKAGE
  return installed if installed.is_dir() else package.parent / _PACKAGE


def make_importable() -> None:
  """Make `from configs import ...` use `folder()`.

  Otherwise a `configs` in the working directory would be imported instead.
  """
  loaded = sys.modules.get(_PACKAGE)
  if loaded is not None and str(folder()) in map(str, loaded.__path__):
    return
  package = types.ModuleType(_PACKAGE, "The config files of dsh_jax.")
  package.__path__ = [str(folder())]
  sys.modules[_PACKAGE] = package


def presets() -> dict[str, dict[str, Any]]:
  """Return `METHODS` of configs/methods.py."""
  make_importable()
  return importlib.import_module(f"{_PACKAGE}.methods").METHODS


def find(argv: Sequence[str]) -> list[str]:
  """Replace `--config=configs/NAME.py` in a command line.

  If that file does not exist but `folder()` has it, the latter is used.
  """
  result = list(argv)
  for index, file, argument in _config_flags(argv):
    path = pathlib.Path(file)
    if not path.is_file() and path.parts[:1] == (_PACKAGE,):
      path = folder().joinpath(*path.parts[1:])
      if path.is_file():
        prefix = f"{_FLAG}=" if argv[index].startswith(f"{_FLAG}=") else ""
        result[index] = prefix + str(path) + argument
  return result


def check(argv: Sequence[str]) -> None:
  """Check that the config files of a command line exist.

  Args:
    argv: From `find`.

  Raises:
    UserError: One does not; suggests the nearest name.
  """
  for _, file, _ in _config_flags(argv):
    if not pathlib.Path(file).is_file():
      names = (path.name for path in folder().glob("*.py"))
      known = [f"{_PACKAGE}/{name}" for name in names if name not in _NO_JOBS]
      field = f"{_FLAG}, which also takes other paths"
      raise errors.unknown("config file", file, known, field)


def answer(argv: Sequence[str]) -> str | None:
  """Return the choices for a command line with `=?`, else None.

  The text lists methods, bits, backbones and protocols.

  Args:
    argv: A command line, such as `--config=configs/digits.py:method=?`.
  """
  for _, file, argument in _config_flags(argv):
    if argument.endswith("=?"):
      return _choices(file)
  return None


def _config_flags(argv: Sequence[str]) -> list[tuple[int, str, str]]:
  """Return index, file and ":argument" of the config flags."""
  flags = []
  for index, word in enumerate(argv):
    name, equals, value = word.partition("=")
    if name == _FLAG and equals:
      flags.append((index, value))
    elif name == _FLAG and index + 1 < len(argv):
      flags.append((index + 1, argv[index + 1]))
  parts = [(index, *value.partition(":")) for index, value in flags]
  return [(index, file, colon + rest) for index, file, colon, rest in parts]


def _choices(file: str) -> str:
  config = runpy.run_path(file)["get_config"]()
  methods = presets()
  width = max(map(len, methods))
  lines = [f"method={config.method}   one of"]
  lines += [
    f"  {name:<{width}}  {preset.get('source', '')}".rstrip()
    for name, preset in methods.items()
  ]
  lines.append(
    f"  {fields.AUTO:<{width}}  On features: try each, keep the best"
  )
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
