"""The joint histogram of Hamming distances and label overlaps.

    hist[q, d, s] = database items at distance d from query q that share s
                    labels with it                      int64 [Q, K+1, S+1]

Every metric averaged over tie orders is a function of it. Its size does not
depend on N, and its sums over chunks, devices and hosts are exact.
"""

import functools
import importlib
import importlib.util
from collections.abc import Sequence

import jax
import numpy as np
from jax.experimental import multihost_utils
from numpy.typing import ArrayLike

from dsh_jax import errors
from dsh_jax.retrieval import codes, labels

# Label rows packed at a time.
LABEL_ROWS = 1 << 20
# Modules with a function `add`, imported on first use.
BACKENDS = {
  "numba": "dsh_jax.retrieval.histogram_numba",
  "xla": "dsh_jax.retrieval.histogram_xla",
}


def default_backend() -> str:
  """Return a key of `BACKENDS`: numba on a CPU, XLA elsewhere."""
  has_numba = importlib.util.find_spec("numba") is not None
  return "numba" if has_numba and jax.default_backend() == "cpu" else "xla"


class Accumulator:
  """Joint histogram of a database that arrives in parts.

  Attributes:
    counts: int64 [Q, K+1, max_shared+1] so far.
    num_items: Database items so far.
  """

  def __init__(
    self,
    query_packed: ArrayLike,
    query_labels: ArrayLike,
    num_bits: int,
    *,
    max_shared: int | None = None,
    backend: str | None = None,
    devices: Sequence[jax.Device] | None = None,
  ):
    """Start with an empty database.

    Args:
      query_packed: uint32 [Q, ceil(K/32)] of `codes.pack`, Q >= 1.
      query_labels: [Q, L] of 0 and 1.
      num_bits: K.
      max_shared: Upper bound on the labels that two items share; None takes
        the largest number of labels of a query.
      backend: "numba", "xla", or None for the default of the platform; both
        count the same.
      devices: For "xla"; None takes all local devices.
    """
    self._queries, query_labels = check_items(
      query_packed, query_labels, num_bits, "query"
    )
    self._query_sets = labels.pack(query_labels, "query labels")
    self._num_classes = query_labels.shape[1]
    backend = backend or default_backend()
    if backend not in BACKENDS:
      raise errors.unknown("backend", backend, BACKENDS, "backend")
    self._add = importlib.import_module(BACKENDS[backend]).add
    if backend == "xla":
      self._add = functools.partial(self._add, devices=devices)
    self._num_bits = num_bits
    self._most_query_labels = int(labels.count(self._query_sets).max())
    self._most_database_labels = 0
    if max_shared is None:
      max_shared = self._most_query_labels
    self.num_items = 0
    self.counts = np.zeros(
      (len(self._queries), num_bits + 1, max_shared + 1), np.int64
    )

  def add(
    self,
    database_packed: ArrayLike,
    database_labels: ArrayLike,
    chunk_rows: int | None = None,
  ) -> None:
    """Add codes uint32 [N, ceil(K/32)] and labels [N, L], N >= 1.

    `chunk_rows` >= 1 items are counted at a time.
    """
    database, item_labels = check_items(
      database_packed, database_labels, self._num_bits, "database"
    )
    num_classes = item_labels.shape[1]
    if num_classes != self._num_classes:
      raise errors.UserError(
        f"Query labels have {self._num_classes} classes, database labels"
        f" {num_classes}; they must be the same classes."
      )
    if chunk_rows is not None and chunk_rows < 1:
      raise errors.UserError(f"chunk_rows is {chunk_rows}; allowed: 1 or more.")
    # Packed in parts, because the labels may be a memory-mapped file.
    for start in range(0, len(database), LABEL_ROWS):
      rows = slice(start, start + LABEL_ROWS)
      sets = labels.pack(item_labels[rows], "database labels")
      most = int(labels.count(sets).max())
      if min(most, self._most_query_labels) >= self.counts.shape[2]:
        raise errors.UserError(
          f"Two items may share {min(most, self._most_query_labels)} labels,"
          f" but max_shared is {self.counts.shape[2] - 1}; leave it out."
        )
      self._most_database_labels = max(self._most_database_labels, most)
      self._add(
        self._queries,
        self._query_sets,
        database[rows],
        sets,
        self.counts,
        chunk_rows=chunk_rows,
      )
      self.num_items += len(sets)

  def sum_over_hosts(self) -> None:
    """Add up the counts of all processes, each of its own items.

    All must have the same queries and `max_shared`.
    """
    # Two 32-bit halves, because JAX would cut int64 down to int32.
    halves = np.ascontiguousarray(self.counts).view(np.uint32)
    sizes = np.array([self._most_database_labels, self.num_items], np.int64)
    halves, sizes = multihost_utils.process_allgather(
      (halves, sizes.view(np.uint32))
    )
    self.counts = np.ascontiguousarray(halves).view(np.int64).sum(axis=0)
    sizes = np.ascontiguousarray(sizes).view(np.int64)
    self._most_database_labels = int(sizes[:, 0].max())
    self.num_items = int(sizes[:, 1].sum())

  def result(self) -> np.ndarray:
    """Return the histogram, int64 [Q, K+1, S+1].

    S is the smaller of the most labels of a query and of a database item.
    """
    most = min(self._most_query_labels, self._most_database_labels)
    return self.counts[:, :, : most + 1]


def joint_histogram(
  query_packed: ArrayLike,
  database_packed: ArrayLike,
  query_labels: ArrayLike,
  database_labels: ArrayLike,
  num_bits: int,
  *,
  over_hosts: bool = False,
  backend: str | None = None,
  devices: Sequence[jax.Device] | None = None,
  chunk_rows: int | None = None,
) -> np.ndarray:
  """Count database items by distance and by shared labels, for every query.

  Arguments are as for `Accumulator`. If `over_hosts`, all processes call this
  with the same items, each counts its share of the database, and all get the
  sum.

  Returns:
    int64 [Q, K+1, S+1]; every query's counts add up to N. S is the smaller of
    the most labels of a query and of a database item.
  """
  accumulator = Accumulator(
    query_packed, query_labels, num_bits, backend=backend, devices=devices
  )
  if over_hosts and jax.process_count() > 1:
    count, index = jax.process_count(), jax.process_index()
    num_rows = len(database_packed)
    mine = slice(num_rows * index // count, num_rows * (index + 1) // count)
    if mine.start < mine.stop:
      accumulator.add(database_packed[mine], database_labels[mine], chunk_rows)
    accumulator.sum_over_hosts()
  else:
    accumulator.add(database_packed, database_labels, chunk_rows)
  return np.ascontiguousarray(accumulator.result())


def check_items(
  packed: ArrayLike, item_labels: ArrayLike, num_bits: int, kind: str
) -> tuple[np.ndarray, np.ndarray]:
  """Return codes and labels as arrays of equal length, not empty.

  Only the values of labels are not checked. `kind` is "query" or "database".
  """
  packed = codes.check(packed, num_bits, f"{kind} codes")
  item_labels = np.asarray(item_labels)
  labels.pack(item_labels[:1], f"{kind} labels")
  if len(packed) != len(item_labels):
    raise errors.UserError(
      f"There are {len(packed)} {kind} codes but {len(item_labels)} {kind}"
      " labels; every item needs one of each."
    )
  if len(packed) == 0:
    raise errors.UserError(f"There are no {kind} items; give at least one.")
  return packed, item_labels
