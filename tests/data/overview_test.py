"""The summary of the data before training."""

import pathlib
import re

import fake_archives
import numpy as np
import pytest

from dsh_jax import data
from dsh_jax.data import overview, splits


def _splits(query, train, database, labels, **notes):
  items = np.zeros((len(labels), 2), np.float32)
  names = np.arange(len(labels)).astype(str)

  def split(rows):
    rows = np.array(rows, np.int64)
    return splits.Split(items, rows, labels[rows], names[rows])

  return splits.Splits(
    train=split(train),
    validation=split(range(0)),
    query=split(query),
    database=split(database),
    protocol="p",
    train_in_database=True,
    class_names=tuple("abc")[: labels.shape[1]],
    notes={"listed": 60, "absent": 0, "unreadable": 0, "unlabelled": 0} | notes,
  )


LABELS = np.eye(3, dtype=np.uint8)[np.arange(60) % 3]
APART = (range(12), range(12, 60), range(12, 60))


def _about(query, train, database, labels=LABELS, **notes):
  return overview.describe(_splits(query, train, database, labels, **notes))


def test_data_without_a_problem_raise_no_warning():
  found = _about(*APART)
  assert found["warnings"] == [] and found["rare_labels"] == {}
  assert overview.text(found) == (
    "Data: 48 training items, 0 validation queries, 12 test queries, 48"
    " database items; 3 labels, 1.0 an item (1 to 1)"
  )


ONE = np.repeat(LABELS[:1], 60, axis=0)
ALONE = np.where(np.arange(60)[:, None] < 12, [[0, 0, 1]], [[1, 1, 0]])


@pytest.mark.parametrize(
  ("found", "words"),
  [
    (_about(range(12), range(60), range(12, 60)), "12 of 12 .* trained on"),
    (_about(range(12), range(12, 60), range(3, 60)), "9 of 12 .* finds itself"),
    (_about([5], *APART[1:]), "Only 1 test queries"),
    (_about(*APART, labels=ONE), "same labels"),
    (_about(*APART, labels=ALONE.astype(np.uint8)), "12 of 12 .* no label"),
  ],
)
def test_what_makes_scores_meaningless_is_a_warning(found, words):
  assert len(found["warnings"]) == 1
  assert re.search(words, found["warnings"][0])
  assert f"Warning: {found['warnings'][0]}" in overview.text(found)


def test_copies_across_the_split_are_counted_unless_they_are_a_group(tmp_path):
  options = fake_archives.csv(tmp_path)
  paths = [tmp_path / "pictures" / f"{n:03d}.jpg" for n in range(60)]
  for number, path in enumerate(paths[20:]):
    path.write_bytes(paths[number % 20].read_bytes())

  def about():
    return overview.describe(
      data.load_splits("listfile", "", str(tmp_path / "data"), 16, **options)
    )

  found = about()
  assert found["queries_copied"] == found["items"]["query"] == 6
  (warning,) = (x for x in found["warnings"] if "copies" in x)
  assert warning.startswith("6 of 6 queries are copies of training images")
  path = pathlib.Path(options["csv"])
  lines = [
    f"{line},{int(line.split('.')[0][-3:]) % 20}"
    for line in path.read_text().splitlines()[1:]
  ]
  path.write_text("\n".join(lines))
  assert about()["queries_copied"] == 0


def test_what_was_dropped_and_what_is_rare_is_listed(tmp_path):
  options = fake_archives.csv(tmp_path)
  path = pathlib.Path(options["csv"])
  lines = path.read_text().splitlines()
  bare = [line.split(",")[0] + "," for line in lines[-35:]]
  path.write_text("\n".join([*lines[:-35], *bare]))
  (tmp_path / "pictures" / "003.jpg").write_bytes(b"no picture")
  found = overview.describe(
    data.load_splits(
      "listfile", "", str(tmp_path / "data"), 16, max_missing=0.1, **options
    )
  )
  text = overview.text(found)
  assert "Left out of 60 listed: 35 without a label, 1 unreadable" in text
  rare = found["rare_labels"]
  assert rare and f"Labels of fewer than 10 training items: {len(rare)}" in text
