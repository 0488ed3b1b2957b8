"""Adds the items of another index to an index, and removes items."""

import fnmatch
import os
import pathlib
from collections.abc import Sequence

import numpy as np

from dsh_jax import errors, files
from dsh_jax.apps import commands

_LABELS = "database_labels"
_COLUMNS = ("database_codes", "database_ids", _LABELS, "database_outputs")
_UNREADABLE = ("unreadable_ids", "unreadable_reasons")
_PLACES = ("root", "workdir")  # May differ between two indexes of one run.
Arrays = dict[str, np.ndarray]


def join(index: Arrays, more: Arrays) -> Arrays:
  """Return the items of two indexes.

  Args:
    index: From `read`.
    more: The same; its item replaces one of the same path.

  Returns:
    The arrays of an index, without outputs unless both have them. If only one
    index has labels, its paths keep them and other items have none.

  Raises:
    UserError: They are not from the same run.
  """
  for name in index.keys() | more.keys():
    one, other = index.get(name), more.get(name)
    if name in (*_COLUMNS, *_UNREADABLE, *_PLACES):
      continue
    if one is None or other is None or not np.array_equal(one, other):
      raise errors.UserError(
        f"The two indexes differ in {name}, so different runs encoded them."
        " Encode the images of --add with the run of --index."
      )
  roots = [str(arrays["root"]) for arrays in (index, more)]
  root = os.path.commonpath(roots)
  old, new = (
    np.array([os.path.relpath(os.path.join(at, x), root) for x in found])
    for at, found in (
      (roots[0], index["database_ids"]),
      (roots[1], more["database_ids"]),
    )
  )
  kept = ~np.isin(old, new)
  joined = dict(index, root=np.asarray(root))
  joined["database_ids"] = np.concatenate([old[kept], new])
  known = {}
  for paths, arrays in ((old, index), (new, more)):
    known |= zip(paths.tolist(), arrays.get(_LABELS, ()), strict=False)
  if known:
    none = np.zeros_like(next(iter(known.values())))
    labels = [known.get(path, none) for path in joined["database_ids"].tolist()]
    joined[_LABELS] = np.stack(labels)
  for name in ("database_codes", "database_outputs"):
    if name in index and name in more:
      joined[name] = np.concatenate([index[name][kept], more[name]])
    else:
      joined.pop(name, None)
  return {name: x for name, x in joined.items() if name not in _UNREADABLE}


def remove(index: Arrays, names: Sequence[str]) -> Arrays:
  """Return an index without some of its items.

  Args:
    index: From `read`.
    names: Ids, or patterns such as "2019/*".

  Raises:
    UserError: No item has such a name, or none would be left.
  """
  ids = index["database_ids"].tolist()
  removed = set()
  for name in names:
    found = {name} & set(ids) or set(fnmatch.filter(ids, name))
    if not found:
      raise errors.UserError(
        f"--remove={name} is not in the index (first id: {ids[0]})."
      )
    removed |= found
  kept = ~np.isin(ids, list(removed))
  if not kept.any():
    raise errors.UserError("Nothing would be left. Change --remove.")
  return {
    name: array[kept] if name in _COLUMNS else array
    for name, array in index.items()
  }


def read(path: str, flag: str) -> Arrays:
  """Return the arrays of an index that `encode` wrote from images.

  Raises:
    UserError: It is not one.
  """
  try:
    found = files.read_arrays(pathlib.Path(path).expanduser())
  except (OSError, ValueError) as error:
    raise errors.UserError(
      f"Cannot read {flag}={path}: {errors.describe(error)}."
    ) from error
  if not isinstance(found, dict) or not {"root", *_COLUMNS[:2]} <= set(found):
    raise errors.UserError(
      f"{flag}={path} is not an index of image files. Give the output of"
      " python -m dsh_jax encode --images."
    )
  return found


def main(argv: Sequence[str]) -> None:
  """Run the command."""
  given = commands.parse("edit", argv)
  if not given.add and not given.remove:
    raise errors.UserError("Give --add=INDEX, or --remove=NAME.")
  index = read(given.index, "--index")
  before = len(index["database_ids"])
  if given.add:
    more = read(given.add, "--add")
    one_has = {name for name in _COLUMNS if (name in index) != (name in more)}
    if "database_outputs" in one_has:
      print("Left out the outputs, which only one of the two indexes has.")
    index = join(index, more)
    if _LABELS in one_has and (bare := np.sum(~index[_LABELS].any(axis=1))):
      print(
        f"Items without labels: {bare}, since only one of the two indexes has"
        " labels. `evaluate` counts them as relevant to no query."
      )
  if given.remove:
    index = remove(index, given.remove)
  out = pathlib.Path(given.out or given.index).expanduser()
  try:
    with files.replacing(out) as partial, partial.open("wb") as file:
      np.savez(file, **index)
  except OSError as error:
    raise errors.UserError(
      f"Cannot write --out={out}: {errors.describe(error)}."
    ) from error
  print(f"{out} has {len(index['database_ids'])} items; {before} were there.")
