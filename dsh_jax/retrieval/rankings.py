"""Rankings as tied buckets: what every metric reads off a joint histogram."""

import functools

import numpy as np

from dsh_jax import errors
from dsh_jax.retrieval import hypergeometric

TIES = ("expected", "optimistic", "pessimistic")


class Rankings:
  """The rankings of Q queries, each D tied buckets in rank order.

  Made once of a histogram and handed to several metrics, it saves them the
  sums they share. All arrays are float64 and hold whole numbers, exact below
  2^53. "Before" always means: in earlier buckets.

  Attributes:
    cells: [Q, D, S+1], items by bucket and overlap, S >= 1.
    overlaps: [S+1], 0 ... S.
    items: [Q, D], items of a bucket.
    items_before: [Q, D].
    num_items: Items of a ranking, N, the same for all.
  """

  def __init__(self, hist: np.ndarray):
    """Reads a histogram.

    Args:
      hist: Integers [Q, D, S+1], Q, D >= 1; each query's add up to the same
        N >= 1.

    Raises:
      UserError: If it is anything else.
    """
    hist = np.asarray(hist)
    whole = np.issubdtype(hist.dtype, np.integer)
    if hist.ndim != 3 or 0 in hist.shape or not whole:
      raise errors.UserError(
        f"The histogram is {hist.dtype} of shape {hist.shape}; give integers"
        " [queries, distances, overlaps], as histogram.joint_histogram does."
      )
    cells = hist.astype(np.float64)
    if cells.shape[2] == 1:
      cells = np.concatenate([cells, np.zeros_like(cells)], axis=2)
    self._set(cells)
    totals = self.items.sum(axis=1)
    if np.any(totals != totals[0]) or totals[0] == 0:
      raise errors.UserError(
        f"The histogram counts {totals.min():.0f} to {totals.max():.0f} items"
        " a query; every query ranks the same database, of at least one item."
      )

  def _set(self, cells: np.ndarray) -> None:
    self.cells = cells
    self.overlaps = np.arange(cells.shape[2], dtype=np.float64)
    self.items = cells @ np.ones_like(self.overlaps)
    ends = np.cumsum(self.items, axis=1)
    self.items_before = ends - self.items
    self.num_items = int(ends[0, -1])
    # By cut-off; shared with `binary`, for which they are the same.
    self._chances = {}

  @classmethod
  def _of_cells(cls, cells: np.ndarray) -> "Rankings":
    made = cls.__new__(cls)
    made._set(cells)
    return made

  @functools.cached_property
  def relevant(self) -> np.ndarray:
    """Items of a bucket that share a label with the query, [Q, D]."""
    return self.items - self.cells[:, :, 0]

  @functools.cached_property
  def relevant_before(self) -> np.ndarray:
    """Relevant items before a bucket, [Q, D]."""
    return np.cumsum(self.relevant, axis=1) - self.relevant

  @functools.cached_property
  def total_relevant(self) -> np.ndarray:
    """Relevant items of a query in the database, [Q]."""
    return self.relevant.sum(axis=1)

  @functools.cached_property
  def gain(self) -> np.ndarray:
    """Sum of the overlaps in a bucket, [Q, D]."""
    return self.cells @ self.overlaps

  @functools.cached_property
  def gain_before(self) -> np.ndarray:
    """Sum of the overlaps before a bucket, [Q, D]."""
    return np.cumsum(self.gain, axis=1) - self.gain

  @functools.cached_property
  def binary(self) -> "Rankings":
    """The same rankings with every overlap above 1 taken for 1."""
    cells = np.stack([self.cells[:, :, 0], self.relevant], axis=2)
    made = Rankings._of_cells(cells)
    made._chances = self._chances
    return made

  @functools.cached_property
  def all_tied(self) -> "Rankings":
    """The same items in one bucket: codes that are all equal."""
    return Rankings._of_cells(self.cells.sum(axis=1, keepdims=True))

  def edge(self, k: int) -> np.ndarray:
    """Finds the bucket that holds rank k, int64 [Q]; k is from 1 to N."""
    return np.sum(self.items_before < k, axis=1) - 1

  def cut_chances(self, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Finds how many relevant items of the bucket of rank k are in the first k.

    Args:
      k: Cut-off, 1 to N.

    Returns:
      values: [Q, V], numbers of them.
      probabilities: [Q, V], over all orders of the bucket.
    """
    if k not in self._chances:
      chosen = np.arange(len(self.items)), self.edge(k)
      self._chances[k] = hypergeometric.weights(
        self.items[chosen],
        self.relevant[chosen],
        k - self.items_before[chosen],
      )
    return self._chances[k]

  def first(self, k: int) -> int:
    """Counts the leading buckets that hold the first k ranks of every query."""
    return int(np.max(self.edge(k))) + 1

  @functools.cached_property
  def optimistic(self) -> tuple[np.ndarray, np.ndarray]:
    """What precedes a cell if high overlaps stand first inside a bucket.

    How many items [Q, D, S+1], and the sum of their overlaps [Q, D, S+1].
    """
    return self._preceding(np.tril(np.ones((len(self.overlaps),) * 2), -1))

  @functools.cached_property
  def pessimistic(self) -> tuple[np.ndarray, np.ndarray]:
    """The same if low overlaps stand first."""
    return self._preceding(np.triu(np.ones((len(self.overlaps),) * 2), 1))

  def _preceding(self, order: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sums what precedes a cell; order[i, j]: overlap i stands before j."""
    items = self.cells @ order
    items += self.items_before[:, :, None]
    gain = self.cells @ (self.overlaps[:, None] * order)
    gain += self.gain_before[:, :, None]
    return items, gain


def read(hist: "np.ndarray | Rankings", ties: str = "expected") -> Rankings:
  """Takes what a metric was given, and checks the name of the tie mode.

  Args:
    hist: Integers [Q, D, S+1], or the rankings made of them, returned as they
      are.
    ties: One of `TIES`.

  Raises:
    UserError: If either is not as said.
  """
  if ties not in TIES:
    raise errors.unknown("tie mode", ties, TIES, "ties")
  return hist if isinstance(hist, Rankings) else Rankings(hist)
