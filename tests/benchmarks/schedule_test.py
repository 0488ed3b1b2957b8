"""Tests of how shards of a table share its cells."""

import pathlib

import pytest

from benchmarks.tables import cells, references, schedule
from configs.tables import digits
from dsh_jax import errors


@pytest.fixture(scope="module")
def table():
  return cells.make_table(digits.get_config())


@pytest.mark.parametrize("num_shards", [1, 2, 7, 100])
def test_every_cell_is_in_one_shard(table, num_shards):
  queue = schedule.Queue(table, pathlib.Path("nowhere"))
  shards = [queue.items(index, num_shards) for index in range(num_shards)]
  assert shards[0][0] is references
  dealt = shards[0][1:] + [item for shard in shards[1:] for item in shard]
  every = [*table.grid, *table.further, *table.wanted]
  assert len(dealt) == len(every)
  assert set(dealt) == set(every)
  sizes = [len(shard) for shard in shards]
  if num_shards > 25:
    assert max(sizes) - min(sizes) <= 2
    return
  for one, other in zip(shards, shards[1:], strict=False):
    both = [{item.method for item in x if item is not references}
            for x in (one, other)]  # fmt: skip
    assert both[0].isdisjoint(both[1])


@pytest.mark.parametrize("text", ["2/2", "1", "a/b", "-1/2", "0/0"])
def test_a_shard_that_is_none_is_refused(text):
  with pytest.raises(errors.UserError, match="--shard"):
    schedule.parse_shard(text)
