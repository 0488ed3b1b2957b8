"""Splits of a data set: protocols as data, drawn from a seed.

Images are drawn in the order of the SHA-256 of seed and id. It is the same on
every machine and with every library version, and adding or removing images
does not reorder the others.
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
  """A published way of splitting a data set.

  A split is given as a tuple of groups (of the builder, or of list files), as
  `Some` of their images, as a number of images to draw, as a share below 1 of
  the remaining images, or as REST, all that remain. Queries are drawn first,
  then training images, then the database.

  Attributes:
    train: Training images.
    query: Test queries.
    database: Images to search. REST is all that are not queries (and, unless
      `train_in_database`, not training images).
    validation: Groups, or a number or share of training images to set aside
      as queries that choose the epoch.
    train_in_database: Whether drawn training images are in the database.
    per_class: Whether numbers of `query` and `train` are per class: class by
      class in label order, from images that no earlier class took.
    keep_unlabelled: Whether to keep images without any label.
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
    """Return the protocol with other numbers of images.

    Args:
      **numbers: Split -> images to draw (per class, if `per_class`); -1 keeps
        the protocol's. A split made of groups is drawn from these groups.
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
  content_sha256: str = "",
) -> splits.Splits:
  """Split a data set.

  Args:
    name: Name of the protocol.
    protocol: The protocol.
    images: uint8 [M,H,W,3] or float [M,F], memory-mapped.
    labels: uint8 [M,L], 0 or 1.
    ids: str [M], all different.
    groups: Group name -> int64 rows.
    class_names: Names of the L labels.
    seed: Seed of the draws.
    notes: See `arrays.Arrays`.
    together: str [M]: items of one name are drawn together, so that a split may
      have a few more than asked for; None draws each item by itself.
    content_sha256: See `arrays.Arrays`.

  Returns:
    The splits. Their notes count images without a label as "unlabelled", and
    "unlabelled_kept" is whether they are kept.
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
    content_sha256=content_sha256,
  )


@dataclasses.dataclass(frozen=True)
class _Draw:
  """Draws rows for all splits of a protocol."""

  name: str
  labels: np.ndarray
  ids: np.ndarray
  groups: Mapping[str, np.ndarray]
  left_out: np.ndarray
  seed: int
  together: np.ndarray | None

  def order(self, rows):
    """Return the rows in drawing order."""
    names = self.ids if self.together is None else self.together
    keys = [
      hashlib.sha256(f"{self.seed}/{names[row]}".encode()).digest()
      for row in rows
    ]
    return rows[np.array(sorted(range(len(rows)), key=keys.__getitem__), int)]

  def rows(self, wanted, free, split, per_class=False):
    """Return the rows of a split, ascending (groups keep their order)."""
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
