"""A batch computed in parts has the same gradient."""

import math
import re

import pytest
import stub_network

PARTS = 4


# Both losses are over all pairs; the losses of parts would miss most of them.
@pytest.mark.parametrize(
  "kind, num_devices, method", [("jit", 1, "idhn"), ("pmap", 4, "hyp2")]
)
def test_equals_the_whole_batch(kind, num_devices, method):
  whole = stub_network.Trainer(method=method, batch_norm=False)
  in_parts = stub_network.Trainer(
    kind, num_devices, method=method, batch_norm=False, accumulate=PARTS
  )
  stub_network.assert_equal_to_rounding(
    in_parts.take_steps(), whole.take_steps()
  )
  if num_devices == 1:  # Only the activations of one part are stored.
    temporary = [
      trainer.compiled.memory_analysis().temp_size_in_bytes
      for trainer in (in_parts, whole)
    ]
    assert temporary[0] < 0.7 * temporary[1]


def test_parts_do_not_depend_on_the_devices():
  # BatchNorm is per part over all devices, so the parts must be the same.
  expected = stub_network.Trainer("pmap", 4, accumulate=2).take_steps()
  trainer = stub_network.Trainer("jit", 4, accumulate=2)
  stub_network.assert_equal_to_rounding(trainer.take_steps(), expected)
  # No image leaves its device.
  moved = re.findall(
    r"\b\w+\[([\d,]*)\]\S* (?:all-gather|all-to-all|collective-permute)\(",
    trainer.compiled.as_text(),
  )
  assert moved  # Codes and labels.
  most = max(math.prod(map(int, filter(None, m.split(",")))) for m in moved)
  image_pixels = stub_network.SIZE**2 * 3
  assert most <= stub_network.BATCH * stub_network.BITS
  assert most < stub_network.BATCH // 4 * image_pixels
