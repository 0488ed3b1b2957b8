"""Lists and removes prepared data in the cache."""

import datetime
import fcntl
import fnmatch
import os
import pathlib
import shutil
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from dsh_jax import data, errors
from dsh_jax.apps import commands


class Entry(NamedTuple):
  """A folder of prepared data.

  Attributes:
    name: Its path in the cache.
    num_bytes: Size of its files.
    used: When one of them was last read or written, seconds since 1970.
  """

  name: str
  num_bytes: int
  used: float


def list_entries(folder: pathlib.Path) -> list[Entry]:
  """Return what is in a cache, last used first."""
  entries = []
  for path in _folders(folder):
    files = [file.stat() for file in path.rglob("*") if file.is_file()]
    if files:
      entries.append(
        Entry(
          path.relative_to(folder).as_posix(),
          sum(file.st_size for file in files),
          max(max(file.st_atime, file.st_mtime) for file in files),
        )
      )
  return sorted(entries, key=lambda entry: -entry.used)


def _folders(folder: pathlib.Path) -> Iterator[pathlib.Path]:
  """Yield decoded arrays, records of a data set, and everything else."""
  for path in sorted(folder.glob("*/")):
    records = [info.parent for info in path.rglob("dataset_info.json")]
    yield from path.glob("*/") if path.name == "arrays" else records or [path]


def remove(folder: pathlib.Path, patterns: Sequence[str]) -> list[str]:
  """Remove entries of a cache and return their names.

  Args:
    folder: The cache.
    patterns: Names of entries, or patterns such as "arrays/listfile*".

  Raises:
    UserError: No entry has such a name, or data are being prepared.
  """
  names = [entry.name for entry in list_entries(folder)]
  chosen = set()
  for pattern in patterns:
    found = fnmatch.filter(names, pattern)
    if not found:
      raise errors.unknown("entry", pattern, names, "--remove")
    chosen.update(found)
  for lock in folder.glob("arrays/*.lock"):
    with open(lock) as file:
      try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
      except BlockingIOError:
        raise errors.UserError(
          f"Another process is preparing data ({lock}). Wait for it or end it."
        ) from None
  for name in sorted(chosen):
    shutil.rmtree(folder / name)
  return sorted(chosen)


def main(argv: Sequence[str]) -> None:
  """Run the command."""
  given = commands.parse("cache", argv)
  folder = pathlib.Path(os.path.expanduser(given.dir or data.cache_dir()))
  if given.remove:
    for name in remove(folder, given.remove):
      print(f"Removed {name}")
    return
  entries = list_entries(folder)
  for entry in entries:
    day = datetime.date.fromtimestamp(entry.used)
    print(f"{entry.num_bytes / 2**20:>9,.1f} MiB  used {day}  {entry.name}")
  total = sum(entry.num_bytes for entry in entries)
  print(f"{total / 2**20:>9,.1f} MiB  in {folder}")
