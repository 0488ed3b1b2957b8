"""Groups of methods that cannot be told apart."""

import numpy as np

from benchmarks.tables import critical_difference


def test_groups_of_a_critical_difference():
  rng = np.random.default_rng(8)
  shape = 8, 200  # Seeds, queries.
  queries = rng.normal(0, 0.2, 200)
  scores = {
    name: mean + queries + rng.normal(0, 0.05, shape)
    for name, mean in {"low": 0.2, "b": 0.5, "a": 0.5, "high": 0.8}.items()
  }
  names, groups = critical_difference.groups(scores)
  assert names[0] == "low" and names[-1] == "high"
  assert groups == [(1, 2)]
