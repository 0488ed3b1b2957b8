"""Which images are in which split."""

import dataclasses

import numpy as np
import pytest

from dsh_jax import data, errors
from dsh_jax.data import protocols, splits

IMAGES = np.zeros((100, 2, 2, 3), np.uint8)
IDS = np.array([f"image{n}" for n in range(100)])
LABELS = (np.arange(100)[:, None] % 7 == np.arange(5)[None, :]).astype(np.uint8)
GROUPS = {"first": np.arange(60), "second": np.arange(60, 100)}
COUNTED = protocols.Protocol(
  train=30, query=20, database=protocols.REST, validation=10
)

BY_GROUPS = protocols.Protocol(
  train=("first",),
  query=("second",),
  database=("first",),
  keep_unlabelled=True,
)


def _apply(protocol, seed=0, ids=IDS, labels=LABELS, groups=GROUPS):
  items = splits.Items(
    IMAGES, labels, ids, groups, tuple("abcde"), {"unlabelled": 0}
  )
  return protocols.apply("p", protocol, items, seed)


def _rows(parts):
  return {
    name: set(getattr(parts, name).rows.tolist())
    for name in ("train", "validation", "query", "database")
  }


def test_counts_and_disjointness():
  parts = _apply(COUNTED)
  rows = _rows(parts)
  labelled = set(np.flatnonzero(LABELS.any(axis=1)).tolist())
  assert {k: len(v) for k, v in rows.items()} == {
    "train": 20,
    "validation": 10,
    "query": 20,
    "database": len(labelled) - 50,
  }
  assert set().union(*rows.values()) == labelled
  assert not parts.train_in_database
  assert parts.notes["unlabelled"] == 100 - len(labelled)
  for split in (parts.train, parts.database):
    np.testing.assert_array_equal(split.labels, LABELS[split.rows])
    np.testing.assert_array_equal(split.ids, IDS[split.rows])


def test_train_in_database():
  parts = _apply(dataclasses.replace(COUNTED, train_in_database=True))
  rows = _rows(parts)
  assert parts.train_in_database
  assert rows["train"] | rows["validation"] <= rows["database"]
  assert not rows["query"] & rows["database"]
  assert not rows["validation"] & rows["train"]


def test_unlabelled_images_can_be_kept():
  rows = _rows(_apply(dataclasses.replace(COUNTED, keep_unlabelled=True)))
  assert sum(map(len, rows.values())) == 100


def test_groups_keep_their_order_and_shares_are_counted():
  parts = _apply(dataclasses.replace(BY_GROUPS, validation=0.1))
  np.testing.assert_array_equal(parts.database.rows, np.arange(60))
  assert len(parts.validation) == 6 and len(parts.train) == 54
  assert parts.train_in_database


def test_a_number_is_drawn_from_the_groups_of_its_split():
  by_groups = dataclasses.replace(BY_GROUPS, validation=("second",))
  parts = _apply(by_groups.with_numbers(train=30, validation=8, query=-1))
  rows = _rows(parts)
  assert len(rows["train"]) == 30 and rows["train"] <= set(range(60))
  assert len(rows["validation"]) == 8 and rows["validation"] <= rows["query"]
  assert len(rows["query"]) == 40 and len(rows["database"]) == 60
  assert parts.train_in_database
  changed = COUNTED.with_numbers(train=25, query=-1, validation=5)
  assert changed == dataclasses.replace(COUNTED, train=25, validation=5)
  with pytest.raises(errors.UserError, match="draws 61 train .* there are 60"):
    _apply(by_groups.with_numbers(train=61))


def test_per_class():
  parts = _apply(
    dataclasses.replace(COUNTED, train=5, query=3, validation=0, per_class=True)
  )
  assert parts.query.labels.sum(axis=0).tolist() == [3] * 5
  assert parts.train.labels.sum(axis=0).tolist() == [5] * 5


def test_the_seed_decides_and_the_order_of_the_source_does_not():
  one, other = _apply(COUNTED, seed=0), _apply(COUNTED, seed=1)
  assert one.sha256 == _apply(COUNTED, seed=0).sha256
  assert one.sha256["query"] != other.sha256["query"]
  back = np.arange(100)[::-1]
  turned = _apply(COUNTED, 0, IDS[back], LABELS[back], {"all": np.arange(100)})
  assert set(turned.query.ids) == set(one.query.ids)
  assert set(turned.train.ids) == set(one.train.ids)


def test_splits_are_the_published_ones():
  """Published numbers depend on the draw."""
  assert _apply(COUNTED).sha256["query"][:16] == "bda19769678bb175"


def test_an_image_keeps_its_split_when_others_are_left_out():
  smaller = _apply(COUNTED, groups={"all": np.arange(99)})
  shared = set(smaller.query.ids) & set(_apply(COUNTED).query.ids)
  assert len(shared) >= 19


def test_a_changed_label_changes_the_hash():
  labels = LABELS.copy()
  labels[0, 4] = 1
  before, after = _apply(BY_GROUPS), _apply(BY_GROUPS, labels=labels)
  assert before.sha256["train"] != after.sha256["train"]
  assert before.sha256["query"] == after.sha256["query"]


@pytest.mark.parametrize(
  ("change", "words"),
  [
    ({"query": 200}, "draws 200 query images; there are 72"),
    ({"query": 40, "train": 40}, "num_train"),
    ({"per_class": True}, "of class 0"),
    ({"train": 52}, "leaves no image for the database split"),
    ({"train": 10}, "leaves no image for the train split"),
  ],
)
def test_too_few_images(change, words):
  with pytest.raises(errors.UserError, match=words):
    _apply(dataclasses.replace(COUNTED, **change))


def test_every_protocol_names_its_source():
  for dataset in data.DATASETS.values():
    assert dataset.protocols
    for protocol in dataset.protocols.values():
      assert protocol.source
