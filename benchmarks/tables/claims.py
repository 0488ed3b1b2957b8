"""Tests of the claims of a table's config, as sentences.

Each sentence has the difference, its interval and p-value, by
`significance.compare`; p-values are corrected for all tests of their list.
"""

import math

import numpy as np

from benchmarks.tables import cells, rows
from dsh_jax.retrieval import significance

_SIGNIFICANT = 0.05


def markdown(table: cells.Table, contents: rows.Contents) -> str:
  """Return the text of claims.md; "" if the table has no claims."""
  if not table.claims or not contents.is_paired:
    return ""
  metric = table.metrics[0]
  parts = [
    f"# {table.title}: what the runs say",
    f"Differences of {metric} of test queries, with their 95 % intervals, over"
    " seeds and queries together (both taken as draws: Clark's min F'); p is"
    " corrected by Holm's method for the tests of its list. A difference is"
    f" claimed below p = {_SIGNIFICANT}.",
    _compared(table, contents),
    *_by_labels(table, contents),
  ]
  return "\n\n".join(part for part in parts if part) + "\n"


def _compared(table, contents):
  pairs, differences = [], []
  for first, second in table.claims:
    pairs.append((first, second))
    differences.append(_difference(table, contents, first, second))
  p_values = significance.holm(
    [d.p_value if d else math.nan for d in differences]
  )
  lines = [
    f"- {_sentence(first, second, difference, p_value)}"
    for (first, second), difference, p_value in zip(
      pairs, differences, p_values, strict=True
    )
  ]
  return "\n".join(lines)


def _by_labels(table, contents):
  """Yield a list for each pair whose gain is split by the query's labels."""
  for first, second in table.claims_by_labels:
    found = [_runs(table, contents, name) for name in (first, second)]
    if not all(found):
      continue
    num_labels = found[0][0].num_labels
    groups = np.unique(num_labels)
    differences = [
      _difference(table, contents, first, second, num_labels == count)
      for count in groups
    ]
    p_values = significance.holm([d.p_value for d in differences])
    lines = [
      f"- {count} label{'s' * int(count > 1)}:"
      f" {_sentence(first, second, difference, p_value)}"
      for count, difference, p_value in zip(
        groups, differences, p_values, strict=True
      )
    ]
    yield (
      f"## {_name(first)} and {_name(second)}, by the labels of the query\n\n"
      + "\n".join(lines)
    )


def _runs(table, contents, name):
  """Return the records of "method", "method/bits" or "method/bits/variant".

  Without bits, they are those of the table's first cell.
  """
  method, bits, variant = (*name.split("/"), "", "")[:3]
  bits = int(bits or table.wanted[0].bits)
  return contents.records.get((method, bits, variant), [])


def _difference(table, contents, first, second, queries=slice(None)):
  """Return the difference; None if one of the two has no run that is done."""
  metric = table.metrics[0]
  scores = [
    [
      record.per_query[metric][queries]
      for record in _runs(table, contents, name)
    ]
    for name in (first, second)
  ]
  if not all(scores):
    return None
  return significance.compare(*(np.stack(rows_of) for rows_of in scores))


def _name(name):
  method, bits, variant = (*name.split("/"), "", "")[:3]
  text = method + (f" at {bits} bits" if bits else "")
  return text + (f" with {variant.replace('_', ' ')}" if variant else "")


def _sentence(first, second, difference, p_value):
  first, second = _name(first), _name(second)
  if difference is None:
    return f"{first} and {second}: not run yet."
  numbers = f"{difference.mean:+.3f}"
  if math.isnan(p_value):
    return (
      f"{first} and {second} are {numbers} apart; with"
      f" {_seeds(difference)} nothing is claimed."
    )
  numbers += f" ± {difference.half_width:.3f}, p = {_format_p(p_value)}"
  facts = f"({numbers}; {_seeds(difference)}, {difference.num_queries} queries)"
  if p_value >= _SIGNIFICANT:
    return f"{first} and {second} cannot be told apart {facts}."
  relation = "above" if difference.mean > 0 else "below"
  return f"{first} is {relation} {second} {facts}."


def _seeds(difference):
  one, two = difference.num_seeds
  return f"{one} and {two} seeds"


def _format_p(value):
  return f"{value:.3f}" if value >= 0.001 else f"{value:.0e}"
