"""Protocols: which images are trained on, searched for and searched.

Images are drawn in the order of the SHA-256 of seed and id: the same on every
machine and with every library version. Adding or removing images does not
reorder the others.
"""

import dataclasses
import hashlib

import numpy as np

from dsh_jax import errors
from dsh_jax.data import splits

REST = "rest"


@dataclasses.dataclass(frozen=True)
class Some:
  """A number of images to draw from groups.

  Attributes:
    groups: Names of the groups.
    count: Number of images, >= 0.
  """

  groups: tuple[str, ...]
  count: int


@dataclasses.dataclass(frozen=True)
class Protocol:
  """A published way of splitting a data set.

  A split is a tuple of groups (of the builder, or of list files), `Some` of
  their images, a number of images to draw, a share below 1 of the remaining
  images, or REST, all that remain. Queries are drawn first, then training
  images, then the database.

  Attributes:
    train: Training images.
    query: Test queries.
    database: Images to search.
    validation: Groups, or a number or share of training images to set aside
      as queries that choose the epoch.
    train_in_database: Whether drawn training images are in the database.
    per_class: Whether numbers of `query` and `train` are per class: class by
      class in label order, from images that no earlier class took.
    keep_unlabelled: Whether to keep images without any label.
    labels: A label set, or the number of most frequent labels; "" is all.
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
        the protocol's. A split of groups is drawn from these groups.
    """
    changes = {}
    for split, number in numbers.items():
      size = getattr(self, split)
      if number >= 0:
        is_groups = isinstance(size, tuple)
        changes[split] = Some(size, number) if is_groups else number
    return dataclasses.replace(self, **changes)


def apply(
  name: str, protocol: Protocol, items: splits.Items, seed: int
) -> splits.Splits:
  """Split a data set.

  Args:
    name: Name of the protocol.
    protocol: The protocol.
    items: The data set. A split may get a few items more than asked for, so
      that it does not cut through `items.together`.
    seed: Seed of the draws.

  Returns:
    The splits. Their notes count images without a label as "unlabelled";
    "unlabelled_kept" says whether they are kept.
  """
  labels = items.labels
  pool = np.unique(np.concatenate(list(items.groups.values())))
  unlabelled = pool[~labels[pool].any(axis=1)]
  notes = dict(items.notes)
  notes["unlabelled"] += len(unlabelled)
  notes["unlabelled_kept"] = protocol.keep_unlabelled
  left_out = unlabelled[:0] if protocol.keep_unlabelled else unlabelled
  draw = _Draw(name, items, left_out, seed)
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
  parts = {"train": train, "query": query, "database": database}
  for split, rows in parts.items():
    if not len(rows):
      groups = ", or give more and smaller groups, which are never split"
      raise errors.UserError(
        f"Protocol {name!r} leaves no image for the {split} split, of"
        f" {len(pool) - len(left_out):,}. Add images, or change"
        f" config.data.protocol or config.data.num_{split}"
        f"{groups if items.together is not None else ''}."
      )

  def create(rows):
    return splits.Split(items.images, rows, labels[rows], items.ids[rows])

  return splits.Splits(
    train=create(train),
    validation=create(validation),
    query=create(query),
    database=create(database),
    protocol=name,
    train_in_database=bool(np.isin(train, database).any()),
    class_names=items.class_names,
    notes=notes,
    content_sha256=items.content_sha256,
  )


@dataclasses.dataclass(frozen=True)
class _Draw:
  """Draws the rows of all splits of a protocol."""

  name: str
  items: splits.Items
  left_out: np.ndarray
  seed: int

  def order(self, rows):
    """Return the rows in drawing order."""
    together = self.items.together
    names = self.items.ids if together is None else together
    keys = [
      hashlib.sha256(f"{self.seed}/{names[row]}".encode()).digest()
      for row in rows
    ]
    return rows[np.array(sorted(range(len(rows)), key=keys.__getitem__), int)]

  def rows(self, size, free, split, per_class=False):
    """Return the rows of a split, ascending (groups keep their order)."""
    if size == REST:
      return np.sort(free)
    if isinstance(size, tuple):
      return self._members(size)
    if isinstance(size, Some):
      free, size = self.order(self._members(size.groups)), size.count
    if isinstance(size, float):
      size = int(size * len(free))
    if not per_class:
      return np.sort(self._first(free, size, split, ""))
    labels = self.items.labels
    taken = np.zeros(len(labels), bool)
    for label in range(labels.shape[1]):
      candidates = free[(labels[free, label] > 0) & ~taken[free]]
      first = self._first(candidates, size, split, f" of class {label}")
      taken[first] = True
    return np.flatnonzero(taken)

  def _members(self, groups):
    rows = np.concatenate([self.items.groups[group] for group in groups])
    return rows[~np.isin(rows, self.left_out)]

  def _first(self, free, count, split, which):
    if count > len(free):
      raise errors.UserError(
        f"Protocol {self.name!r} draws {count:,} {split} images{which}; there"
        f" are {len(free):,} to draw from. Change config.data.protocol, or"
        f" config.data.num_{split}."
      )
    if self.items.together is not None and 0 < count < len(free):
      names = self.items.together[free]
      count += int(np.argmin(np.r_[names[count:] == names[count - 1], False]))
    return free[:count]
