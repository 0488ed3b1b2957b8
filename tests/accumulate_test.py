"""A batch that goes through the network in parts has the same gradient."""

import math
import re

import pytest
import stub_network


@pytest.fixture(scope="module", params=["idhn", "hyp2"])
def at_once(request):
  """The method, the state after three steps and the metrics of each."""
  trainer = stub_network.Trainer(method=request.param, batch_norm=False)
  return request.param, *trainer.take_steps()


# Both losses are of all pairs of the batch. A sum of losses of parts would
# leave most pairs out.
@pytest.mark.parametrize("kind, num_devices", [("jit", 1), ("pmap", 4)])
def test_equals_the_batch_at_once(kind, num_devices, at_once):
  method, *want = at_once
  trainer = stub_network.Trainer(
    kind, num_devices, method=method, batch_norm=False, accumulate=4
  )
  stub_network.assert_equal_to_rounding([*trainer.take_steps()], want)


def test_parts_do_not_depend_on_the_devices():
  # BatchNorm sees a part at a time, over all devices: the parts themselves
  # have to be the same.
  want = stub_network.Trainer("pmap", 4, accumulate=2).take_steps()
  trainer = stub_network.Trainer("jit", 4, accumulate=2)
  compiled = trainer.step.lower(trainer.state, *trainer.batch(0, 1)).compile()
  got = trainer.take_steps()
  stub_network.assert_equal_to_rounding([*got], [*want])
  # No image leaves its device to become part of a part.
  moved = re.findall(
    r"\b\w+\[([\d,]*)\]\S* (?:all-gather|all-to-all|collective-permute)\(",
    compiled.as_text(),
  )
  assert moved, "Codes and labels do."
  most = max(math.prod(map(int, filter(None, m.split(",")))) for m in moved)
  codes = stub_network.BATCH * stub_network.BITS
  image = stub_network.SIZE**2 * 3
  assert most <= codes < stub_network.BATCH // 4 * image


def test_activations_of_one_part_live_at_a_time():
  def temporary_bytes(accumulate):
    trainer = stub_network.Trainer(batch_norm=False, accumulate=accumulate)
    compiled = trainer.step.lower(trainer.state, *trainer.batch(0, 1)).compile()
    return compiled.memory_analysis().temp_size_in_bytes

  assert temporary_bytes(4) < 0.7 * temporary_bytes(1)
