"""The joint histogram of Hamming distances and label overlaps.

    hist[q, d, s] = database items at distance d from query q that share s
                    labels with it                      int64 [Q, K+1, S+1]

It is all that a metric averaged over tie orders needs, it does not grow with
the database, and sums of it over chunks, devices and hosts are exact.
"""

import functools
import importlib
import importlib.util
from collections.abc import Sequence

import jax
import numpy as np
from numpy.typing import ArrayLike

from dsh_jax import errors
from dsh_jax.retrieval import codes, labels

# Labels that are packed at a time.
LABEL_ROWS = 1 << 20
# Each is a module with a function `add`, imported when it is first used.
BACKENDS = {
  "numba": "dsh_jax.retrieval.histogram_numba",
  "xla": "dsh_jax.retrieval.histogram_xla",
}


def default_backend() -> str:
  """Chooses a key of `BACKENDS`: the fused loop on a CPU, XLA elsewhere."""
  has_numba = importlib.util.find_spec("numba") is not None
  return "numba" if has_numba and jax.default_backend() == "cpu" else "xla"


class Accumulator:
  """Adds up the joint histogram while the database streams past.

  Attributes:
    counts: int64 [Q, K+1, S'+1] so far, S' = the bound given at the start.
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
    """Starts with an empty database.

    Args:
      query_packed: uint32 [Q, ceil(K/32)], Q >= 1.
      query_labels: [Q, L] of 0 and 1.
      num_bits: K.
      max_shared: A bound on the labels that two items share; the most labels
        of a query if None.
      backend: "numba", "xla", or None for the one that suits the platform.
      devices: For "xla"; all local devices if None.

    Raises:
      UserError: If codes and labels do not fit each other or `num_bits`, or
        the backend is unknown.
    """
    self._queries, query_labels = _check_items(
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
    """Adds database items.

    Args:
      database_packed: uint32 [N, ceil(K/32)], N >= 1.
      database_labels: [N, L] of 0 and 1.
      chunk_rows: Items at a time, at least 1; changes the speed alone.

    Raises:
      UserError: If an argument is not as said, the items do not fit the
        queries, or they may share more labels than `max_shared`.
    """
    database, item_labels = _check_items(
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
    # Labels are packed a part at a time, as they may lie in a mapped file.
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

  def result(self) -> np.ndarray:
    """Returns the histogram, without overlaps that no two items can have.

    Returns:
      int64 [Q, K+1, S+1], S = the smaller of the most labels of a query and
      the most labels of a database item.
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
  backend: str | None = None,
  devices: Sequence[jax.Device] | None = None,
  chunk_rows: int | None = None,
) -> np.ndarray:
  """Counts database items by distance and by shared labels, for every query.

  Args:
    query_packed: uint32 [Q, ceil(K/32)], see `codes.pack`.
    database_packed: uint32 [N, ceil(K/32)].
    query_labels: [Q, L] of 0 and 1.
    database_labels: [N, L] of 0 and 1.
    num_bits: K.
    backend: "numba", "xla", or None for the one that suits the platform; all
      give the same bits.
    devices: For "xla"; all local devices if None.
    chunk_rows: Database items at a time, at least 1; changes the speed alone.

  Returns:
    int64 [Q, K+1, S+1]; every query's counts add up to N. S is the smaller of
    the most labels of a query and the most labels of a database item.

  Raises:
    UserError: If codes, labels and `num_bits` do not fit each other, there are
      no queries or no database items, or another argument is not as said.
  """
  accumulator = Accumulator(
    query_packed, query_labels, num_bits, backend=backend, devices=devices
  )
  accumulator.add(database_packed, database_labels, chunk_rows)
  return np.ascontiguousarray(accumulator.result())


def sum_over_hosts(counts: np.ndarray) -> np.ndarray:
  """Sums the counts of all processes, each of which saw its own rows.

  Args:
    counts: int64 [Q, K+1, S+1], the same shape everywhere
      (`Accumulator.counts` is).

  Returns:
    int64 of the same shape: the sum, on every process.
  """
  if jax.process_count() == 1:
    return counts
  from jax.experimental import multihost_utils

  # Two 32-bit halves, because JAX would cut int64 down to int32.
  halves = np.ascontiguousarray(counts).view(np.uint32)
  gathered = np.asarray(multihost_utils.process_allgather(halves))
  return np.ascontiguousarray(gathered).view(np.int64).sum(axis=0)


def _check_items(
  packed: ArrayLike, item_labels: ArrayLike, num_bits: int, kind: str
) -> tuple[np.ndarray, np.ndarray]:
  """Checks that codes and labels of one kind fit, but not each label."""
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
