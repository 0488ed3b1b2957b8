"""Your own images: list files, one CSV file, or a folder for each label.

List files, one per split, have a line `path 0 1 0 ...` for each image, the
format of HashNet, DeepHash-pytorch and OrthoHash. A CSV file has lines
`path,label;label;...`, optionally with a group as third column, whose images
stay on one side of the split; or columns of 0 and 1 under the names of labels.
A CSV file and folders are split by the protocol "auto". Paths are relative to
`config.data.manual_dir`. Without a list of validation queries, a tenth of the
training images becomes validation queries.
"""

import dataclasses
import hashlib
import json
import os
import pathlib
from collections.abc import Mapping

from dsh_jax import errors
from dsh_jax.data import (
  archives,
  dataset,
  disk,
  file_builder,
  listings,
  protocols,
)

_SPLITS = ("train", "query", "database", "validation")


class Listfile(file_builder.FileBuilder):
  """Images and labels of the user's lists or folders."""


def _read(manual_dir, csv="", classes="", **lists):
  lists = {split: lists[split] for split in _SPLITS if lists.get(split)}
  if csv and not lists:
    return listings.read_csv(csv, classes, manual_dir)
  if manual_dir and not (csv or lists or classes):
    return listings.read_folder(manual_dir)
  if csv or not {"train", "query", "database"} <= set(lists):
    given = ", ".join([*lists, *(["csv"] if csv else [])]) or "none"
    raise errors.UserError(
      "Give three lists, config.data.train, .query and .database, or one"
      " config.data.csv, or only config.data.manual_dir with a folder for each"
      f" label; given: {given}."
    )
  return listings.read_lists(lists, classes, manual_dir)


def _key(manual_dir: str, **options: str) -> str:
  fingerprint = _fingerprint(_read(manual_dir, **options), manual_dir)
  return f"listfile/{fingerprint}/1.0.0"


def _fingerprint(listing, manual_dir):
  """Return a digest of the lists and of the size and time of each image."""
  root = os.path.abspath(os.path.expanduser(manual_dir))
  digest = hashlib.sha256(json.dumps([root, listing]).encode())
  for path in listing.labels:
    digest.update(f"{disk.stamp(os.path.join(root, path))}\n".encode())
  return digest.hexdigest()[:16]


def _create_builder(
  data_dir: str, manual_dir: str, max_missing: float, **options: str
) -> Listfile:
  listing = _read(manual_dir, **options)
  root = archives.Folder(pathlib.Path(manual_dir).expanduser())
  builder = Listfile(
    data_dir=data_dir,
    variant=_fingerprint(listing, manual_dir),
    class_names=listing.class_names,
    find_items=lambda: [
      file_builder.Item(root, path, path, labels)
      for path, labels in listing.labels.items()
    ],
    max_missing=max_missing,
  )
  builder.groups, builder.together = listing.groups, listing.together
  return builder


AUTO = protocols.Protocol(
  train=protocols.REST,
  query=0.1,
  database=protocols.REST,
  validation=0.1,
  train_in_database=True,
  source="a tenth are queries, the rest is both training set and database",
)
_PROTOCOLS = {
  "lists": protocols.Protocol(
    train=("train",),
    query=("query",),
    database=("database",),
    validation=0.1,
    keep_unlabelled=True,
    source="the list files",
  ),
  "auto": AUTO,
}


def _choose(
  name: str, options: Mapping[str, str]
) -> tuple[str, protocols.Protocol]:
  name = name or ("lists" if options.get("train") else "auto")
  protocol = _PROTOCOLS[name]
  if options.get("validation"):
    protocol = dataclasses.replace(protocol, validation=("validation",))
  return name, protocol


DATASET = dataset.Dataset(
  key=_key,
  create_builder=_create_builder,
  options=(*_SPLITS, "csv", "classes"),
  protocols=_PROTOCOLS,
  choose=_choose,
)
