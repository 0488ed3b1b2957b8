"""Writes labels for the drawings of Debian's package openclipart-png.

python -m benchmarks.clipart --out=clipart.csv

The labels of a drawing are the names of its folders, at any depth, so most have
several: animals/birds/duck.png has animals and birds. Left out are labels
with fewer than 20 drawings, `unsorted`, 1,378 generated stars, and links. Files
whose names differ in a number show variants of one object: they form a group,
which stays on one side of the split.
"""

import collections
import csv
import pathlib
import re
from collections.abc import Sequence

from absl import flags

from dsh_jax.apps import command

_LEFT_OUT = {"unsorted", "stars"}
_MIN_DRAWINGS = 20


def list_drawings(folder: pathlib.Path) -> list[tuple[str, list[str], str]]:
  """Return (path, labels, group) of every drawing that has a label.

  Args:
    folder: With folders of PNG files; paths are relative to it.
  """
  found = {}
  for path in sorted(folder.rglob("*.png")):
    labels = path.relative_to(folder).parts[:-1]
    if not path.is_symlink() and not _LEFT_OUT.intersection(labels):
      found[path.relative_to(folder)] = labels
  count = collections.Counter(
    label for labels in found.values() for label in set(labels)
  )
  drawings = []
  for path, labels in found.items():
    kept = sorted({x for x in labels if count[x] >= _MIN_DRAWINGS})
    if kept:
      group = path.with_name(re.sub(r"[\d_.-]*$", "", path.stem) or path.stem)
      drawings.append((str(path), kept, str(group)))
  return drawings


def _define_flags(values: flags.FlagValues) -> None:
  flags.DEFINE_string(
    "folder",
    "/usr/share/openclipart/png",
    "Folder of the package.",
    flag_values=values,
  )
  flags.DEFINE_string(
    "out", None, "CSV file to write.", required=True, flag_values=values
  )


def main(argv: Sequence[str]) -> None:
  """Write the file."""
  given = command.parse(argv, _define_flags, __doc__)
  drawings = list_drawings(pathlib.Path(given.folder))
  with open(given.out, "w", newline="", encoding="utf-8") as file:
    rows = csv.writer(file)
    rows.writerow(["path", "labels", "group"])
    rows.writerows((path, ";".join(x), group) for path, x, group in drawings)
  print(f"{given.out} has {len(drawings):,} drawings.")


if __name__ == "__main__":
  command.run(main)
