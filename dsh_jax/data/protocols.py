"""Which image is in which split: protocols as data, drawn from a seed.

The order in which images are drawn is that of the SHA-256 of seed and id:
the same on every machine and with every version of every library, and an
image keeps its place when others are added or left out.
"""

import dataclasses
import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from dsh_jax import errors
from dsh_jax.data import splits

REST = "rest"


@dataclasses.dataclass(frozen=True)
class Some:
  """A number of images to draw from groups, instead of all of them.

  Attributes:
    groups: Names of the groups.
    count: Number of images, >= 0.
  """

  groups: tuple[str, ...]
  count: int


@dataclasses.dataclass(frozen=True)
class Protocol:
  """How a data set is split, for one published way of doing it.

  A split is given by the groups (of the builder, or of list files) that make
  it up, as `Some` of these, by a number of images to draw, by a share below 1
  of the images there are, or as REST, all that are left. Queries are drawn
  first, then training images, then the database.

  Attributes:
    train: Images that are trained on.
    query: Test queries.
    database: What they are searched in. REST is all that are no queries (and,
      unless `train_in_database`, no training images).
    validation: Groups, or a number or share of training images to set apart
      as queries that choose the epoch.
    train_in_database: Whether drawn training images are in the database.
    per_class: Numbers of `query` and `train` are per class: class by class
      in label order, from images that no earlier class took.
    keep_unlabelled: Whether images without any label take part.
    labels: Name of the label set, or a number for the most frequent labels;
      "" is all labels.
    source: The paper or code that the numbers come from.
  """

  train: tuple[str, ...] | Some | int | float | str
  query: tuple[str, ...] | Some | int | float | str
  database: tuple[str, ...] | Some | int | float | str
  validation: tuple[str, ...] | Some | int | float = 0
  train_in_database: bool = False
  per_class: bool = False
  keep_unlabelled: bool = False
  labels: str = ""
  source: str = ""

  def with_numbers(self, **numbers: int) -> "Protocol":
    """Returns the protocol with other numbers of images.

    Args:
      **numbers: Split -> images to draw (of each class, if `per_class`); -1
        keeps what the protocol has. A split that is made of groups is drawn
        from these groups.
    """
    changes = {}
    for split, number in numbers.items():
      wanted = getattr(self, split)
      if number >= 0:
        drawn = Some(wanted, number) if isinstance(wanted, tuple) else number
        changes[split] = drawn
    return dataclasses.replace(self, **changes)


def apply(
  name: str,
  protocol: Protocol,
  images: np.ndarray,
  labels: np.ndarray,
  ids: np.ndarray,
  groups: Mapping[str, np.ndarray],
  class_names: tuple[str, ...],
  seed: int,
  notes: Mapping[str, Any],
  together: np.ndarray | None = None,
) -> splits.Splits:
  """Splits a data set.

  Args:
    name: Name of the protocol.
    protocol: The protocol.
    images: uint8 [M,H,W,3] or float [M,F], memory-mapped.
    labels: uint8 [M,L], 0 or 1.
    ids: str [M], all different.
    groups: Name -> int64 rows that the builder or a list puts together.
    class_names: Names of the L labels.
    seed: Seed of what is drawn.
    notes: Of `arrays.Arrays`.
    together: str [M]: where a split is drawn, items of one name are drawn
      together, so that it may have a few more than asked for; None lets each
      item stand for itself.

  Returns:
    The splits; in `notes`, the images without a label are added to those
    "unlabelled", and "unlabelled_kept" says whether they take part.

  Raises:
    UserError: There are not enough images, or a split is empty.
  """
  pool = np.unique(np.concatenate(list(groups.values())))
  unlabelled = pool[~labels[pool].any(axis=1)]
  notes = dict(notes)
  notes["unlabelled"] += len(unlabelled)
  notes["unlabelled_kept"] = protocol.keep_unlabelled
  left_out = unlabelled[:0] if protocol.keep_unlabelled else unlabelled
  draw = _Draw(name, labels, ids, groups, left_out, seed, together)
  free = draw.order(np.setdiff1d(pool, left_out))

  query = draw.rows(protocol.query, free, "query", protocol.per_class)
  free = free[~np.isin(free, query)]
  train = draw.rows(protocol.train, free, "train", protocol.per_class)
  if not protocol.train_in_database:
    free = free[~np.isin(free, train)]
  database = draw.rows(protocol.database, free, "database", False)
  if isinstance(protocol.validation, (tuple, Some)):
    validation = draw.rows(protocol.validation, free, "validation")
  else:
    validation = draw.rows(protocol.validation, draw.order(train), "validation")
    train = train[~np.isin(train, validation)]
  for split, rows in (
    ("train", train),
    ("query", query),
    ("database", database),
  ):
    if not len(rows):
      raise errors.UserError(
        f"Protocol {name!r} leaves no image for the {split} split. Change"
        f" config.data.protocol or config.data.num_{split}."
      )

  def create(rows):
    return splits.Split(images, rows, labels[rows], ids[rows])

  return splits.Splits(
    train=create(train),
    validation=create(validation),
    query=create(query),
    database=create(database),
    protocol=name,
    train_in_database=bool(np.isin(train, database).any()),
    class_names=class_names,
    notes=notes,
  )


@dataclasses.dataclass(frozen=True)
class _Draw:
  """Draws rows; holds what all draws of a protocol share."""

  name: str
  labels: np.ndarray
  ids: np.ndarray
  groups: Mapping[str, np.ndarray]
  left_out: np.ndarray
  seed: int
  together: np.ndarray | None

  def order(self, rows):
    """Returns the rows in the order in which they are drawn."""
    names = self.ids if self.together is None else self.together
    keys = [
      hashlib.sha256(f"{self.seed}/{names[row]}".encode()).digest()
      for row in rows
    ]
    return rows[np.array(sorted(range(len(rows)), key=keys.__getitem__), int)]

  def rows(self, wanted, free, split, per_class=False):
    """Returns the rows of a split, ascending (groups keep their order)."""
    if wanted == REST:
      return np.sort(free)
    if isinstance(wanted, tuple):
      return self._members(wanted)
    if isinstance(wanted, Some):
      free, wanted = self.order(self._members(wanted.groups)), wanted.count
    if isinstance(wanted, float):
      wanted = int(wanted * len(free))
    if not per_class:
      return np.sort(self._first(free, wanted, split, ""))
    taken = np.zeros(len(self.labels), bool)
    for label in range(self.labels.shape[1]):
      able = free[(self.labels[free, label] > 0) & ~taken[free]]
      taken[self._first(able, wanted, split, f" of class {label}")] = True
    return np.flatnonzero(taken)

  def _members(self, groups):
    rows = np.concatenate([self.groups[group] for group in groups])
    return rows[~np.isin(rows, self.left_out)]

  def _first(self, free, count, split, what):
    if count > len(free):
      raise errors.UserError(
        f"Protocol {self.name!r} draws {count:,} {split} images{what}; there"
        f" are {len(free):,} to draw from. Change config.data.protocol, or"
        f" config.data.num_{split}."
      )
    if self.together is not None and 0 < count < len(free):
      names = self.together[free]
      count += int(np.argmin(np.r_[names[count:] == names[count - 1], False]))
    return free[:count]
