"""Imports modules when their first attribute is asked for."""

import __future__

import importlib.abc
import importlib.machinery
import sys
import types

# Nothing else is imported late: what takes no time may as well be there.
_packages = {"PIL", "dsh_jax", "flax", "jax", "optax", "starlette", "uvicorn"}
# What the import of a module itself reads and writes.
_OF_IMPORTS = {
  "__cached__",
  "__class__",
  "__dict__",
  "__file__",
  "__loader__",
  "__name__",
  "__package__",
  "__path__",
  "__spec__",
}


class _LateModule(types.ModuleType):
  """A module that is read when it is used, and not when it is imported."""

  def __getattribute__(self, name):
    get = super().__getattribute__
    if name in _OF_IMPORTS or name in get("__dict__"):
      return get(name)
    spec = get("__spec__")
    inside = spec.submodule_search_locations
    if inside is not None and importlib.machinery.PathFinder.find_spec(
      f"{spec.name}.{name}", inside
    ):
      raise AttributeError(name)  # Its import does not need the package read.
    self.__class__ = types.ModuleType
    package = spec.name.partition(".")[0]
    if package == __name__.partition(".")[0]:
      source = spec.loader_state.get_source(spec.name)
      flags = __future__.annotations.compiler_flag  # They would be evaluated.
      code = compile(source, spec.origin, "exec", flags, dont_inherit=True)
      exec(code, get("__dict__"))
    else:
      _packages.discard(package)  # It may not bear to be read bit by bit.
      spec.loader_state.exec_module(self)
    return getattr(self, name)


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
  def find_spec(self, name, path, target=None):
    if name.partition(".")[0] not in _packages:
      return None
    spec = importlib.machinery.PathFinder.find_spec(name, path, target)
    if spec is not None and spec.loader is not None:
      spec.loader, spec.loader_state = self, spec.loader
    return spec

  def create_module(self, spec):
    return _LateModule(spec.name)

  def exec_module(self, module):
    del module


def install() -> None:
  """Import this package and slow ones late from here on."""
  sys.meta_path.insert(0, _Finder())
