"""One device, pmap over eight and jit over eight take the same steps."""

import jax
import numpy as np
import pytest

from dsh_jax import losses, models, optimizer, parallel, steps
from dsh_jax.data import augment

BATCH, SIZE, CLASSES, BITS = 16, 16, 5, 12
NUM_STEPS = 3


def _take_steps(kind, num_devices, **options):
  """Returns the state after NUM_STEPS and the metrics of each, on the host."""
  spread = parallel.Parallel(kind, jax.devices()[:num_devices])
  loss = losses.make_loss("idhn", num_bits=BITS, num_classes=CLASSES)
  network = models.create_network(
    backbone="tiny", num_outputs=BITS, axis_name=spread.axis_name
  )
  # Plain gradient steps: Adam would turn rounding in a gradient near zero
  # into a whole step.
  rule = optimizer.create_optimizer(
    "sgd", optimizer.create_schedule("constant", 0.05, 1, 1)
  )
  create = jax.jit(
    lambda key: steps.create_state(network, loss, rule, SIZE, key)
  )
  state = create(jax.random.key(0))
  step = steps.make_train_step(
    network,
    loss,
    rule,
    augment.Augmentation(SIZE, crop_padding=2, flip=True),
    seed=0,
    batch_size=BATCH,
    axis_name=spread.axis_name,
    **options,
  )
  lifted = spread.lift(steps.scan_steps(step), donate_state=True)
  rng = np.random.default_rng(0)
  images = rng.integers(
    0, 256, (NUM_STEPS, BATCH, SIZE, SIZE, 3), dtype=np.uint8
  )
  labels = (rng.random((NUM_STEPS, BATCH, CLASSES)) < 0.4).astype(np.uint8)
  state = spread.replicate(jax.device_get(state))
  metrics = []
  for one in range(NUM_STEPS):
    batch = images[one : one + 1], labels[one : one + 1]
    state, outcome = lifted(state, *spread.place(batch, batch_axis=1))
    metrics.append(spread.fetch(outcome))
  return spread.fetch(state), metrics


@pytest.fixture(scope="module")
def one_device():
  return _take_steps("jit", 1)


def _assert_equal_to_rounding(got, want):
  for (path, x), (_, y) in zip(
    jax.tree_util.tree_leaves_with_path(got),
    jax.tree_util.tree_leaves_with_path(want),
    strict=True,
  ):
    scale = max(1e-3, float(np.abs(y).max()))
    np.testing.assert_allclose(
      x / scale, y / scale, atol=3e-5, err_msg=jax.tree_util.keystr(path)
    )


@pytest.mark.parametrize(
  "kind, num_devices", [("pmap", 1), ("pmap", 8), ("jit", 8)]
)
def test_state_and_metrics_do_not_depend_on_the_devices(
  kind, num_devices, one_device
):
  got = _take_steps(kind, num_devices)
  assert int(got[0].step) == NUM_STEPS
  assert jax.tree.leaves(got[0].batch_stats)
  _assert_equal_to_rounding(got, one_device)
