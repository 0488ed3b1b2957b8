"""Rankings as tied buckets, with the sums that metrics share."""

import functools

import numpy as np

from dsh_jax import errors
from dsh_jax.retrieval import hypergeometric

TIES = ("expected", "optimistic", "pessimistic")
_MAX_SHARED = 4096  # Memory and time grow with its square.


class Rankings:
  """The rankings of Q queries, each D tied buckets in rank order.

  It caches the sums that metrics share. All arrays are float64 and hold whole
  numbers, exact below 2^53. "Before" means: in earlier buckets.

  Attributes:
    cells: [Q, D, S+1], items by bucket and overlap, S >= 1.
    overlaps: [S+1], 0 ... S.
    items: [Q, D], items of a bucket.
    items_before: [Q, D].
    num_items: Items of a ranking, N, the same for all.
  """

  def __init__(self, hist: np.ndarray):
    """Read integers [Q, D, S+1]; each query's add up to the same N >= 1."""
    hist = np.asarray(hist)
    whole = np.issubdtype(hist.dtype, np.integer)
    if hist.ndim != 3 or 0 in hist.shape or not whole:
      raise errors.UserError(
        f"The histogram is {hist.dtype} of shape {hist.shape}; give integers"
        " [queries, distances, overlaps], as histogram.joint_histogram does."
      )
    check_shared(hist.shape[2] - 1)
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
    # By cut-off; those of `binary` are the same.
    self._chances = {}

  @classmethod
  def _of_cells(cls, cells: np.ndarray) -> "Rankings":
    rankings = cls.__new__(cls)
    rankings._set(cells)
    return rankings

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
    """The same rankings with every overlap above 1 replaced by 1."""
    cells = np.stack([self.cells[:, :, 0], self.relevant], axis=2)
    rankings = Rankings._of_cells(cells)
    rankings._chances = self._chances
    return rankings

  @functools.cached_property
  def all_tied(self) -> "Rankings":
    """The same items in one bucket, as if all codes were equal."""
    return Rankings._of_cells(self.cells.sum(axis=1, keepdims=True))

  def edge(self, k: int) -> np.ndarray:
    """Return the bucket of rank k, 1 <= k <= N, int64 [Q]."""
    return np.sum(self.items_before < k, axis=1) - 1

  def cut_chances(self, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Return how many relevant items of its bucket a cut at rank k keeps.

    Returns:
      values: [Q, V], possible numbers.
      probabilities: [Q, V], over all orders of the bucket.
    """
    if k not in self._chances:
      chosen = np.arange(len(self.items)), self.edge(k)
      self._chances[k] = hypergeometric.weights(
        self.items[chosen], self.relevant[chosen], k - self.items_before[chosen]
      )
    return self._chances[k]

  def first(self, k: int) -> int:
    """Count the leading buckets that hold the first k ranks of every query."""
    return int(np.max(self.edge(k))) + 1

  @functools.cached_property
  def optimistic(self) -> tuple[np.ndarray, np.ndarray]:
    """Items before a cell and the sum of their overlaps, [Q, D, S+1] each.

    High overlaps come first in a bucket.
    """
    return self._preceding(np.tril(np.ones((len(self.overlaps),) * 2), -1))

  @functools.cached_property
  def pessimistic(self) -> tuple[np.ndarray, np.ndarray]:
    """The same with low overlaps first."""
    return self._preceding(np.triu(np.ones((len(self.overlaps),) * 2), 1))

  def _preceding(self, order: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sum over earlier cells; order[i, j]: overlap i is before j."""
    items = self.cells @ order
    items += self.items_before[:, :, None]
    gain = self.cells @ (self.overlaps[:, None] * order)
    gain += self.gain_before[:, :, None]
    return items, gain


def check_shared(most: int) -> None:
  """Raise a UserError if two items share more than 4,096 labels."""
  if most > _MAX_SHARED:
    raise errors.UserError(
      f"Items share up to {most:,} labels; rankings are scored with at most"
      f" {_MAX_SHARED:,}. Give fewer labels, with config.data.labels for"
      " example."
    )


def read(hist: "np.ndarray | Rankings", ties: str = "expected") -> Rankings:
  """Return the rankings of a histogram or themselves; check the tie mode."""
  if ties not in TIES:
    raise errors.unknown("tie mode", ties, TIES, "ties")
  return hist if isinstance(hist, Rankings) else Rankings(hist)
