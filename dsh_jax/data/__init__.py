"""Data sets: built once, decoded once, then rows of bytes."""

import dataclasses
import os
import pathlib
from typing import Any

import numpy as np

from dsh_jax import errors
from dsh_jax.data import arrays, digits, images, protocols
from dsh_jax.data.dataset import Dataset
from dsh_jax.data.splits import Split, Splits

__all__ = ["DATASETS", "Dataset", "Split", "Splits", "load_splits"]

DATASETS: dict[str, Dataset] = {
  "digits": digits.DATASET,
}


def load_splits(
  name: str = "digits",
  protocol: str = "",
  data_dir: str = "",
  image_size: int = 48,
  seed: int = 0,
  *,
  manual_dir: str = "",
  resize: str = "squash",
  labels: str = "",
  num_train: int = -1,
  num_query: int = -1,
  num_database: int = -1,
  num_validation: int = -1,
  max_missing: float = 0.01,
  **options: Any,
) -> Splits:
  """Returns the splits of a protocol; builds the data set on the first call.

  Args:
    name: A name of `DATASETS`.
    protocol: A protocol of that data set; "" is its first.
    data_dir: Where prepared data are kept; "" is the user's cache folder.
    image_size: H and W of the images, pixels.
    seed: Seed of what the protocol draws.
    manual_dir: Folder of the archives that a person downloaded.
    resize: "squash" or "crop", see `images.decode`.
    labels: A label set of the data set; "" is that of the protocol.
    num_train: Images to draw instead of the protocol's number; -1 keeps it.
    num_query: The same for queries.
    num_database: The same for the database.
    num_validation: The same for the validation queries that are cut from the
      training split; 0 trains on all of it.
    max_missing: Share of listed images that may be absent or unreadable.
    **options: Further options of the data set.

  Raises:
    UserError: A name, option or source is wrong.
  """
  if name not in DATASETS:
    raise errors.unknown("data set", name, DATASETS, "config.data.name")
  dataset = DATASETS[name]
  protocol = protocol or next(iter(dataset.protocols))
  if protocol not in dataset.protocols:
    raise errors.unknown(
      f"protocol of {name}",
      protocol,
      dataset.protocols,
      "config.data.protocol",
    )
  if resize not in images.RESIZE_RULES:
    raise errors.unknown(
      "resize rule", resize, images.RESIZE_RULES, "config.data.resize"
    )
  for option in options:
    if option not in dataset.options:
      raise errors.unknown(
        f"option of {name}", option, dataset.options, "config.data"
      )
  rule = _with_numbers(
    dataset.protocols[protocol],
    train=num_train,
    query=num_query,
    database=num_database,
    validation=num_validation,
  )
  data_dir = os.path.abspath(os.path.expanduser(data_dir or _cache_dir()))
  builder = dataset.create_builder(data_dir, manual_dir, **options)
  found = arrays.load(
    dataset,
    builder,
    data_dir=data_dir,
    manual_dir=manual_dir,
    image_size=image_size,
    resize=resize,
  )
  _check_missing(name, found.notes, max_missing)
  chosen, class_names = _choose_labels(
    dataset, labels or rule.labels, found.class_names
  )
  return protocols.apply(
    protocol,
    rule,
    found.images,
    found.labels[:, chosen],
    found.ids,
    found.groups,
    class_names,
    seed,
    found.notes,
  )


def _cache_dir() -> str:
  cache = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
  return str(pathlib.Path(cache) / "dsh_jax")


def _with_numbers(rule, **numbers):
  given = {split: number for split, number in numbers.items() if number >= 0}
  return dataclasses.replace(rule, **given)


def _choose_labels(dataset, name, class_names):
  """Returns the columns and the names of a label set."""
  if not name:
    return np.arange(len(class_names)), class_names
  if name not in dataset.label_sets:
    raise errors.unknown(
      "label set", name, dataset.label_sets, "config.data.labels"
    )
  kept = tuple(dataset.label_sets[name](class_names))
  return np.array([class_names.index(label) for label in kept]), kept


def _check_missing(name, notes, max_missing):
  missing = notes["absent"] + notes["unreadable"]
  if missing > max_missing * notes["listed"]:
    raise errors.UserError(
      f"{name}: {missing:,} of {notes['listed']:,} listed images are absent"
      f" or unreadable ({notes['unreadable']:,} unreadable, such as"
      f" {notes['first_unreadable']}); at most {max_missing:.1%} may be."
      " Complete the images, or raise config.data.max_missing."
    )
