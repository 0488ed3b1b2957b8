"""The items of a data set, and the splits of a protocol."""

import dataclasses
import functools
import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from dsh_jax.data import checked


@dataclasses.dataclass(frozen=True)
class Items:
  """All items of a data set.

  Attributes:
    images: uint8 [M,H,W,3], on disk; or features, float [M,F].
    labels: uint8 [M,L], 0 or 1.
    ids: str [M], all different.
    groups: Name of a list, or of a split of the builder -> int64 rows, without
      unreadable images.
    class_names: Names of the L labels.
    notes: Counts of images: "listed" ones with a label, "absent" and
      "unreadable" ones among them, and "unlabelled" ones, which were left out;
      "first_unreadable" is id -> reason, at most ten.
    together: str [M]; items of one name stay on one side of drawn splits. None
      draws items independently.
    content_sha256: SHA-256 of the pixels of all images, or of the features.
  """

  images: np.ndarray | checked.CheckedArray
  labels: np.ndarray
  ids: np.ndarray
  groups: Mapping[str, np.ndarray]
  class_names: tuple[str, ...]
  notes: Mapping[str, Any]
  together: np.ndarray | None = None
  content_sha256: str = ""


@dataclasses.dataclass(frozen=True)
class Split:
  """Rows of `Items`.

  Attributes:
    images: uint8 [M,H,W,3] or float [M,F], shared by all splits.
    rows: int64 [N], rows of `images`, in order.
    labels: uint8 [N,L], 0 or 1.
    ids: str [N], unique in the data set.
  """

  images: np.ndarray | checked.CheckedArray
  rows: np.ndarray
  labels: np.ndarray
  ids: np.ndarray

  def __len__(self) -> int:
    return len(self.rows)

  def take(self, indices: np.ndarray) -> np.ndarray:
    """Return images [n,H,W,3] or features [n,F] at indices int [n]."""
    return np.asarray(self.images[self.rows[indices]])

  def sha256(self) -> str:
    """Return the hexadecimal SHA-256 of ids and labels, in order."""
    digest = hashlib.sha256()
    digits = self.labels + np.uint8(ord("0"))
    for item, row in zip(self.ids, digits, strict=True):
      digest.update(f"{item}\t".encode() + row.tobytes() + b"\n")
    return digest.hexdigest()


@dataclasses.dataclass(frozen=True)
class Splits:
  """The four splits of a protocol.

  Attributes:
    train: Training images; not empty.
    validation: Queries that choose the epoch, disjoint from `train`; may be
      empty.
    query: Test queries; not empty.
    database: Images to search; not empty.
    protocol: Name of the protocol.
    train_in_database: Whether any training image is in the database.
    class_names: Names of the L labels.
    notes: Those of `Items`, and "unlabelled_kept", whether images without a
      label are kept.
    content_sha256: That of `Items`.
  """

  train: Split
  validation: Split
  query: Split
  database: Split
  protocol: str
  train_in_database: bool
  class_names: tuple[str, ...]
  notes: Mapping[str, Any]
  content_sha256: str = ""

  @property
  def num_classes(self) -> int:
    """L, the number of labels."""
    return len(self.class_names)

  @functools.cached_property
  def sha256(self) -> dict[str, str]:
    """Split -> SHA-256 of its ids and labels."""
    return {
      name: getattr(self, name).sha256()
      for name in ("train", "validation", "query", "database")
    }
