"""Groups of steps that divide an epoch."""

import pytest

from dsh_jax.runs import schedule


@pytest.mark.parametrize(
  ("steps_per_epoch", "size"),
  [(1, 1), (31, 31), (256, 256), (512, 256), (514, 2), (1021, 1)],
)
def test_an_even_part_divides_an_epoch(steps_per_epoch, size):
  assert schedule.even_part(steps_per_epoch) == size
