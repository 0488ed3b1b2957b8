"""Counts of items and labels in the splits, and warnings about scores."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from dsh_jax.data import checked
from dsh_jax.data import splits as splits_lib

_RARE = 10  # Training items; a label with fewer is listed.
_FEW = 10  # Queries; a mean over fewer raises a warning.
_NAMED = 5  # Rare labels to name.


def describe(splits: splits_lib.Splits) -> dict[str, Any]:
  """Count items and labels, and collect reasons to distrust the scores.

  Args:
    splits: Of images or of features.

  Returns:
    JSON: "items" of each split, "labels" (L), "labels_per_item" of the database
    ("mean", "min", "max"), "left_out" (reason -> images), "rare_labels" (name
    -> training items), counts of "queries_in_train", "queries_in_database",
    "queries_copied" (equal to a training image) and "queries_without_relevant",
    and "warnings".
  """
  query, database, train = splits.query, splits.database, splits.train
  per_item = database.labels.sum(axis=1, dtype=np.int64)
  per_label = train.labels.sum(axis=0, dtype=np.int64)
  summary = {
    "items": {
      name: len(getattr(splits, name))
      for name in ("train", "validation", "query", "database")
    },
    "labels": splits.num_classes,
    "labels_per_item": {
      "mean": float(per_item.mean()),
      "min": int(per_item.min()),
      "max": int(per_item.max()),
    },
    "left_out": {
      name: splits.notes[name]
      for name in ("listed", "absent", "unreadable", "unlabelled")
      if name != "unlabelled" or not splits.notes.get("unlabelled_kept")
    },
    "rare_labels": {
      splits.class_names[label]: int(per_label[label])
      for label in np.argsort(per_label, kind="stable")
      if per_label[label] < _RARE
    },
    "queries_in_train": int(np.isin(query.rows, train.rows).sum()),
    "queries_copied": _count_copies(query, train),
    "queries_in_database": int(np.isin(query.rows, database.rows).sum()),
    "queries_without_relevant": int(
      np.sum(~query.labels[:, database.labels.any(axis=0)].any(axis=1))
    ),
  }
  return summary | {"warnings": _warnings(splits, summary)}


def _count_copies(query, train):
  """Return how many queries have the pixels of another, training image."""
  images = query.images
  if not isinstance(images, checked.CheckedArray):
    return 0
  known = dict(
    zip(images.checksums[train.rows], train.rows.tolist(), strict=True)
  )
  pairs = (
    (row, known.get(checksum, row))
    for row, checksum in zip(
      query.rows.tolist(), images.checksums[query.rows], strict=True
    )
  )
  # Among many images, some different ones have the same checksum.
  return sum(
    bool(np.array_equal(*images[np.array(pair)]))
    for pair in pairs
    if pair[0] != pair[1]
  )


def _warnings(splits, summary):
  """Return a sentence for each reason to distrust the scores."""
  items, warnings = summary["items"], []
  queries, rows = items["query"], splits.query.labels
  if count := summary["queries_in_train"]:
    warnings.append(
      f"{count:,} of {queries:,} queries are also trained on, so scores say"
      " nothing about new items."
    )
  if count := summary["queries_copied"]:
    warnings.append(
      f"{count:,} of {queries:,} queries are copies of training images, so"
      " scores are too high. Remove them, or keep copies on one side by a third"
      " column, `group`, of a CSV file."
    )
  if count := summary["queries_in_database"]:
    warnings.append(
      f"{count:,} of {queries:,} queries are also in the database, where each"
      " finds itself."
    )
  if count := summary["queries_without_relevant"]:
    warnings.append(
      f"{count:,} of {queries:,} queries share no label with any database item;"
      " no code can find anything for them."
    )
  if (rows == rows[0]).all() and (splits.database.labels == rows[0]).all():
    warnings.append(
      "All queries and database items have the same labels, so every code"
      " scores the same."
    )
  for kind, name in (("query", "test"), ("validation", "validation")):
    if 0 < items[kind] < _FEW:
      warnings.append(
        f"Only {items[kind]} {name} queries: the scores are noisy."
      )
  return warnings


def counts(summary: Mapping[str, Any]) -> list[str]:
  """Return the result of `describe` as lines of text, without warnings."""
  items, labels = summary["items"], summary["labels_per_item"]
  lines = [
    f"Data: {items['train']:,} training items, {items['validation']:,}"
    f" validation queries, {items['query']:,} test queries,"
    f" {items['database']:,} database items; {summary['labels']}"
    f" label{'s' * (summary['labels'] != 1)}, {labels['mean']:.1f} an item"
    f" ({labels['min']} to {labels['max']})"
  ]
  reasons = {
    "unlabelled": "without a label",
    "absent": "absent",
    "unreadable": "unreadable",
  }
  numbers = summary["left_out"]
  left_out = ", ".join(
    f"{numbers[name]:,} {words}"
    for name, words in reasons.items()
    if numbers.get(name)
  )
  if left_out:
    lines.append(f"Left out of {numbers['listed']:,} listed: {left_out}")
  if rare := summary["rare_labels"]:
    named = ", ".join(
      f"{name} ({count})" for name, count in list(rare.items())[:_NAMED]
    )
    more = ", ..." if len(rare) > _NAMED else ""
    lines.append(
      f"Labels of fewer than {_RARE} training items: {len(rare)} of"
      f" {summary['labels']}: {named}{more}"
    )
  return lines


def text(summary: Mapping[str, Any]) -> str:
  """Return the result of `describe` as text."""
  warnings = (f"Warning: {warning}" for warning in summary["warnings"])
  return "\n".join([*counts(summary), *warnings])
