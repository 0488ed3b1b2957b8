"""The rules of the house: who may import whom, and no field without a reader.

A package or module of `LEVELS` imports from lower levels only; those of one
level do not import each other.
"""

import ast
import graphlib
import inspect
import pathlib
import re

import ml_collections
import pytest

from configs import default
from dsh_jax import data

ROOT = pathlib.Path(__file__).parents[1]
LEVELS = (
  ("errors",),
  ("files", "parallel"),
  ("losses", "models", "data", "retrieval"),
  ("steps",),
  ("config",),
  ("runs",),
  ("train", "report"),
  ("apps",),
  ("main",),
  ("__main__",),
)
ABOUT_DEVICES = {"pmap", "shard_map", "sharding", "make_mesh", "device_put"}


def _modules():
  """Return dotted name -> syntax tree of every module of the package."""
  found = {}
  for path in sorted((ROOT / "dsh_jax").rglob("*.py")):
    parts = path.relative_to(ROOT).with_suffix("").parts
    name = ".".join(part for part in parts if part != "__init__")
    found[name] = ast.parse(path.read_text())
  return found


MODULES = _modules()


def _imports(tree):
  """Return the modules of the project that a module imports, anywhere."""
  names = set()
  for node in ast.walk(tree):
    if isinstance(node, ast.ImportFrom) and node.module:
      for alias in node.names:
        if alias.name in ("__version__", "MAX_BITS"):
          continue
        full = f"{node.module}.{alias.name}"
        names.add(full if full in MODULES else node.module)
    elif isinstance(node, ast.Import):
      names.update(alias.name for alias in node.names)
  tops = ("dsh_jax", "configs", "benchmarks", "tests")
  return {name for name in names if name.split(".")[0] in tops}


def _room(module):
  return module.split(".")[1] if "." in module else ""


def _level(module):
  return next(i for i, rooms in enumerate(LEVELS) if _room(module) in rooms)


def _attributes(tree):
  return [node for node in ast.walk(tree) if isinstance(node, ast.Attribute)]


@pytest.mark.parametrize("module", sorted(set(MODULES) - {"dsh_jax"}))
def test_imports_go_down(module):
  for imported in _imports(MODULES[module]):
    assert imported.startswith("dsh_jax."), f"{module} imports {imported}"
    inside = _room(imported) == _room(module)
    assert inside or _level(imported) < _level(module), (
      f"{module} imports {imported}"
    )


def test_no_imports_in_circles():
  graph = {name: _imports(tree) - {name} for name, tree in MODULES.items()}
  assert tuple(graphlib.TopologicalSorter(graph).static_order())


def test_only_parallel_and_the_kernels_of_retrieval_spread_over_devices():
  found = {
    name
    for name, tree in MODULES.items()
    if any(node.attr in ABOUT_DEVICES for node in _attributes(tree))
  }
  assert found == {
    "dsh_jax.parallel",
    "dsh_jax.retrieval.histogram_xla",
    "dsh_jax.retrieval.neighbors_xla",
  }


def test_the_config_stays_in_the_rooms_above():
  for name, tree in MODULES.items():
    if _room(name) and _level(name) < _level("dsh_jax.config"):
      assert "ml_collections" not in _names(tree), f"{name} sees the config"


def _declared():
  """Return the paths of all fields, such as ("data", "name")."""
  fields = set()
  for name, value in default.get_config().items():
    if hasattr(value, "items"):
      fields.update((name, field) for field in value)
    else:
      fields.add((name,))
  return fields


def _chain(node):
  """Return ("config", "data", "name") of `x.config.data.name`, or ()."""
  names = []
  while isinstance(node, ast.Attribute):
    names.append(node.attr)
    node = node.value
  names.append(getattr(node, "id", ""))
  names.reverse()
  return tuple(names[names.index("config") :]) if "config" in names else ()


def test_every_field_is_read():
  read = {node.attr for tree in MODULES.values() for node in _attributes(tree)}
  # factories.load_splits hands these on by name.
  read |= set(inspect.signature(data.load_splits).parameters)
  assert {field for field in _declared() if field[-1] not in read} == set()


def test_every_field_that_is_read_is_declared():
  declared = _declared() | {("loss", "name")}
  known = declared | {field[:1] for field in declared}
  checked = 0
  for module, tree in MODULES.items():
    for node in _attributes(tree):
      path = _chain(node)[1:]
      if (
        not path
        or "jax" in _names(node)
        or hasattr(ml_collections.ConfigDict, path[-1])
      ):
        continue
      assert path in known, f"{module}:{node.lineno} reads {path}"
      checked += 1
  assert checked > 100


@pytest.mark.parametrize(
  "folder", ["dsh_jax", "configs", "benchmarks", "tests"]
)
def test_docstrings_of_functions_are_imperative(folder):
  for path in sorted((ROOT / folder).rglob("*.py")):
    for node in ast.walk(ast.parse(path.read_text())):
      if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        continue
      # Properties and fixtures are named by nouns, tests by sentences.
      decorators = " ".join(map(ast.unparse, node.decorator_list))
      if re.search("property|fixture", decorators) or node.name[:5] == "test_":
        continue
      text = ast.get_docstring(node) or ""
      assert not re.match(r"[A-Z][a-z]*[^s\W]s\b", text), (
        path,
        node.name,
        text,
      )


def _names(tree):
  return {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
