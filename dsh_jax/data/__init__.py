"""Data sets: built once, decoded once, then read as rows of bytes."""

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
    name: A name of `DATASETS`.
    protocol: A protocol of that data set; "" is its first.
    data_dir: Folder of prepared data; "" is the user's cache folder.
    image_size: H and W of the images, pixels, at least 1.
    seed: Seed of the protocol's random choices.
    manual_dir: Folder of archives that the user downloaded.
    resize: A rule of `images.RESIZE_RULES`, see `images.decode`.
    labels: A label set of the data set, a number N for its N most frequent
      labels, or names separated by ";"; "" is the label set of the protocol.
    num_train: Training images to draw, per label if the protocol counts per
      label; -1 keeps the protocol's number.
    num_query: The same for queries.
    num_database: The same for the database.
    num_validation: The same for the validation queries. Unless the data set
      has images for them, they are cut from the training split; 0 trains on
      all of it.
    max_missing: Share of listed images that may be absent or unreadable, 0
      to 1.
    **options: Further options of the data set, see `Dataset.options`.
  """
  if name not in DATASETS:
    raise errors.unknown("data set", name, DATASETS, "config.data.name")
  dataset = DATASETS[name]
  if protocol and protocol not in dataset.protocols:
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
  if dataset.load is not None:
    found = dataset.load(**options)
    protocol, rule = dataset.choose_loaded(protocol, found)
  else:
    protocol, rule = _choose_protocol(dataset, protocol, options)
  rule = rule.with_numbers(
    train=num_train,
    query=num_query,
    database=num_database,
    validation=num_validation,
  )
  if dataset.load is None:
    found = arrays.load(
      dataset,
      data_dir=os.path.abspath(os.path.expanduser(data_dir or cache_dir())),
      manual_dir=manual_dir,
      image_size=image_size,
      resize=resize,
      max_missing=max_missing,
      options=options,
    )
  _check_missing(name, found.notes, max_missing)
  chosen = _choose_labels(
    dataset, labels or rule.labels, found.class_names, found.labels
  )
  return protocols.apply(
    protocol,
    rule,
    found.images,
    found.labels[:, chosen],
    found.ids,
    found.groups,
    tuple(found.class_names[column] for column in chosen),
    seed,
    found.notes,
    found.together,
    found.content_sha256,
  )


def cache_dir() -> str:
  """Return the cache folder of this package, $XDG_CACHE_HOME/dsh_jax."""
  cache = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
  return str(pathlib.Path(cache) / "dsh_jax")


def _choose_protocol(dataset, name, options):
  if dataset.choose is not None:
    return dataset.choose(name, options)
  name = name or next(iter(dataset.protocols))
  return name, dataset.protocols[name]


def _choose_labels(dataset, wanted, class_names, labels):
  """Return the columns of a label set: a name, a number N, or names."""
  if not wanted:
    return np.arange(len(class_names))
  kept = dataset.label_sets.get(wanted) or wanted.split(";")
  if wanted.isdecimal() and wanted not in dataset.label_sets:
    if not 1 <= int(wanted) <= len(class_names):
      raise errors.UserError(
        f"config.data.labels is {wanted}; there are {len(class_names)} labels."
      )
    frequent = np.argsort(-labels.sum(axis=0, dtype=np.int64), kind="stable")
    return np.sort(frequent[: int(wanted)])
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
      " Complete the images, or raise config.data.max_missing."
    )
