"""Data sets: built and decoded once, then read as rows of an array."""

import dataclasses
import os
import pathlib
from typing import Any

import numpy as np

from dsh_jax import errors
from dsh_jax.data import (
  arrays,
  coco,
  digits,
  features,
  iaprtc12,
  images,
  listfile,
  mirflickr25k,
  nuswide,
  protocols,
  voc,
)
from dsh_jax.data.dataset import Dataset
from dsh_jax.data.splits import Split, Splits

__all__ = ["DATASETS", "Dataset", "Split", "Splits", "load_splits"]

DATASETS: dict[str, Dataset] = {
  "digits": digits.DATASET,
  "mirflickr25k": mirflickr25k.DATASET,
  "nuswide": nuswide.DATASET,
  "iaprtc12": iaprtc12.DATASET,
  "voc2007": voc.DATASET_2007,
  "voc2012": voc.DATASET_2012,
  "coco": coco.DATASET,
  "listfile": listfile.DATASET,
  "features": features.DATASET,
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
  """Return the splits of a protocol, building the data set on first use.

  Args:
    name: A key of `DATASETS`.
    protocol: A protocol of that data set; "" is its first.
    data_dir: Folder of prepared data; "" is the user's cache folder.
    image_size: H and W of the images, pixels, at least 1.
    seed: Seed of the protocol's draws.
    manual_dir: Folder of downloaded archives.
    resize: See `images.decode`.
    labels: A label set of the data set, a number N for its N most frequent
      labels, or names separated by ";"; "" is the label set of the protocol.
    num_train: Training images to draw, per label if the protocol counts per
      label; -1 keeps the protocol's number.
    num_query: Queries, likewise.
    num_database: Database images, likewise.
    num_validation: Validation queries, likewise. They are cut from the training
      split unless the data set has its own; 0 trains on all of it.
    max_missing: Share of listed images that may be absent or unreadable, 0
      to 1.
    **options: Options of the data set, see `Dataset.options`.
  """
  check_names(name, protocol, resize)
  dataset = DATASETS[name]
  for option in options:
    if option not in dataset.options:
      raise errors.unknown(
        f"option of {name}", option, dataset.options, "config.data"
      )
  if dataset.load is not None:
    items = dataset.load(**options)
    protocol, rule = dataset.choose_loaded(protocol, items)
  else:
    if dataset.choose is not None:
      protocol, rule = dataset.choose(protocol, options)
    else:
      protocol = protocol or next(iter(dataset.protocols))
      rule = dataset.protocols[protocol]
    errors.check_utf8(data_dir, "config.data.dir")
    errors.check_utf8(manual_dir, "config.data.manual_dir")
    items = arrays.load(
      dataset,
      data_dir=os.path.abspath(os.path.expanduser(data_dir or cache_dir())),
      manual_dir=manual_dir,
      image_size=image_size,
      resize=resize,
      max_missing=max_missing,
      options=options,
    )
  _check_missing(name, items.notes, max_missing)
  columns = _choose_labels(dataset, labels or rule.labels, items)
  items = dataclasses.replace(
    items,
    labels=items.labels[:, columns],
    class_names=tuple(items.class_names[column] for column in columns),
  )
  rule = rule.with_numbers(
    train=num_train,
    query=num_query,
    database=num_database,
    validation=num_validation,
  )
  return protocols.apply(protocol, rule, items, seed)


def check_names(name: str, protocol: str, resize: str) -> None:
  """Check arguments of `load_splits`, at once.

  Raises:
    UserError: The data set, its protocol or the resize rule is unknown.
  """
  if name not in DATASETS:
    raise errors.unknown("data set", name, DATASETS, "config.data.name")
  known = DATASETS[name].protocols
  if protocol and protocol not in known:
    raise errors.unknown(
      f"protocol of {name}", protocol, known, "config.data.protocol"
    )
  if resize not in images.RESIZE_RULES:
    raise errors.unknown(
      "resize rule", resize, images.RESIZE_RULES, "config.data.resize"
    )


def cache_dir() -> str:
  """Return the cache folder of this package, $XDG_CACHE_HOME/dsh_jax."""
  cache = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
  return str(pathlib.Path(cache) / "dsh_jax")


def _choose_labels(dataset, label_set, items):
  """Return the columns of a label set: a name, a number N, or names."""
  class_names = items.class_names
  if not label_set:
    return np.arange(len(class_names))
  if label_set.isdecimal() and label_set not in dataset.label_sets:
    if not 1 <= int(label_set) <= len(class_names):
      raise errors.UserError(
        f"config.data.labels is {label_set}; there are"
        f" {len(class_names)} labels."
      )
    counts = items.labels.sum(axis=0, dtype=np.int64)
    return np.sort(np.argsort(-counts, kind="stable")[: int(label_set)])
  kept = dataset.label_sets.get(label_set) or label_set.split(";")
  for name in kept:
    if name not in class_names:
      raise errors.unknown(
        "label or label set",
        name,
        [*dataset.label_sets, *class_names],
        "config.data.labels",
      )
  return np.array([class_names.index(name) for name in kept])


def _check_missing(name, notes, max_missing):
  missing = notes["absent"] + notes["unreadable"]
  if missing > max_missing * notes["listed"]:
    raise errors.UserError(
      f"{name}: {missing:,} of {notes['listed']:,} listed images are absent"
      f" or unreadable ({notes['unreadable']:,} unreadable, such as"
      f" {notes['first_unreadable']}); at most {max_missing:.1%} may be."
      " Add them, or raise config.data.max_missing."
    )
