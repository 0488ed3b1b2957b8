"""Published numbers of papers and code bases, with their sources."""

import csv
import dataclasses
import pathlib

from dsh_jax import errors

_FILE = pathlib.Path(__file__).with_name("published.csv")
_FIELDS = (
  "dataset",
  "protocol",
  "method",
  "backbone",
  "bits",
  "metric",
  "value",
  "source",
  "how",
)


@dataclasses.dataclass(frozen=True)
class Published:
  """A row of published.csv.

  Attributes:
    dataset: With the number of labels, such as "mirflickr25k-38".
    protocol: A protocol of that data set.
    method: A preset's name where there is one.
    backbone: As in config.model.backbone if it exists there.
    bits: K.
    metric: A metric's name, with ties in that code's order.
    value: The score.
    source: Where it was published.
    how: Whether the source measured or copied it.
  """

  dataset: str
  protocol: str
  method: str
  backbone: str
  bits: int
  metric: str
  value: float
  source: str
  how: str


def read(
  dataset: str, protocol: str, path: pathlib.Path = _FILE
) -> list[Published]:
  """Return the rows of a data set and protocol.

  Args:
    dataset: Name in the file's first column; "" gives no rows.
    protocol: Name in its second.
    path: The file.

  Returns:
    The rows in the order of the file.

  Raises:
    UserError: The file lacks a column, or a number in it is not one.
  """
  rows = []
  with open(path, newline="", encoding="utf-8") as file:
    reader = csv.DictReader(file)
    if tuple(reader.fieldnames or ()) != _FIELDS:
      raise errors.UserError(
        f"{path} has the columns {reader.fieldnames}; it must have"
        f" {', '.join(_FIELDS)}. Change its first line."
      )
    for row in reader:
      if (row["dataset"], row["protocol"]) != (dataset, protocol):
        continue
      try:
        bits, value = int(row.pop("bits")), float(row.pop("value"))
      except (TypeError, ValueError):
        raise errors.UserError(
          f"{path}, line {reader.line_num}: bits must be an integer and value"
          " a number. Change that line."
        ) from None
      rows.append(Published(bits=bits, value=value, **row))
  return rows
