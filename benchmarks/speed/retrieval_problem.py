"""Random codes and labels of the sizes that retrieval is timed at."""

import dataclasses

import numpy as np

from dsh_jax.retrieval import codes

NUM_CLASSES = 21


@dataclasses.dataclass(frozen=True)
class Problem:
  """Codes and labels: packed uint32 [N, words] and uint8 [N, L]."""

  queries: np.ndarray
  database: np.ndarray
  query_labels: np.ndarray
  database_labels: np.ndarray
  num_bits: int

  @property
  def num_pairs(self) -> int:
    """Pairs of a query and a database item."""
    return len(self.queries) * len(self.database)


def make_problem(
  num_queries: int, num_items: int, num_bits: int, seed: int = 0
) -> Problem:
  """Make items whose codes are noisy functions of their labels.

  Labels differ in frequency as those of photographs do: 2.8 an item in the
  mean, the commonest on a quarter of the items, the rarest on a fiftieth.
  """
  rng = np.random.default_rng(seed)
  frequency = 0.25 * np.linspace(1, 0.08, NUM_CLASSES)
  directions = rng.normal(size=(NUM_CLASSES, num_bits)).astype(np.float32)

  def items(count):
    packed, labels = [], []
    for start in range(0, count, 50000):
      size = min(50000, count - start)
      some = rng.random((size, NUM_CLASSES), np.float32) < frequency
      noise = rng.standard_normal((size, num_bits), np.float32)
      packed.append(codes.pack(some @ directions + 1.5 * noise))
      labels.append(some.astype(np.uint8))
    return np.concatenate(packed), np.concatenate(labels)

  queries, query_labels = items(num_queries)
  database, database_labels = items(num_items)
  return Problem(queries, database, query_labels, database_labels, num_bits)
