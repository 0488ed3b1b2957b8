"""Steps do not depend on the number of devices or of steps per call."""

import functools

import jax
import numpy as np
import pytest
import stub_network

from dsh_jax import steps
from dsh_jax.config import optimizer

NUM_STEPS = 3


@functools.cache
def _on_one_device(method):
  """Return the state after three steps and the metrics of each."""
  return stub_network.Trainer(method=method).take_steps()


# hyp2 has its own parameters.
@pytest.mark.parametrize(
  "kind, method", [("pmap", "idhn"), ("jit", "idhn"), ("pmap", "hyp2")]
)
def test_state_and_metrics_do_not_depend_on_the_devices(kind, method):
  state, metrics = stub_network.Trainer(kind, 8, method=method).take_steps()
  assert int(state.step) == NUM_STEPS
  assert jax.tree.leaves(state.batch_stats)
  assert bool(jax.tree.leaves(state.params["loss"])) == (method == "hyp2")
  stub_network.assert_equal_to_rounding(
    (state, metrics), _on_one_device(method)
  )


def test_three_steps_in_one_call_equal_three_calls():
  actual = stub_network.Trainer().take_steps(per_dispatch=NUM_STEPS)
  stub_network.assert_equal_to_rounding(actual, _on_one_device("idhn"))


def test_batch_norm_per_device_gives_equal_states():
  trainer = stub_network.Trainer("pmap", 4, num_steps=1, sync_batch_norm=False)
  state, _ = trainer.take_steps()
  synced, _ = stub_network.Trainer(num_steps=1).take_steps()
  for x in jax.tree.leaves(trainer.state):
    shards = [np.asarray(shard.data) for shard in x.addressable_shards]
    assert all(np.array_equal(shard, shards[0]) for shard in shards)
  (actual,) = state.batch_stats["backbone"].values()
  (expected,) = synced.batch_stats["backbone"].values()
  # The average of means is the mean; variances of parts are smaller.
  np.testing.assert_allclose(actual["mean"], expected["mean"], atol=1e-6)
  assert np.all(actual["var"] < expected["var"])


def test_learning_rate_is_reported():
  schedule = optimizer.create_schedule("cosine", 0.05, NUM_STEPS, 1)
  _, metrics = stub_network.Trainer(learning_rate=schedule).take_steps()
  expected = [schedule(step) for step in range(NUM_STEPS)]
  np.testing.assert_allclose(metrics["learning_rate"], expected, rtol=1e-6)


def _numbers(seed, learning_rate):
  return steps.RunNumbers(
    seed=np.asarray(seed, np.int32),
    learning_rate=np.asarray(learning_rate, np.float32),
  )


def test_default_run_numbers_change_nothing():
  trainer = stub_network.Trainer()
  for step in range(NUM_STEPS):
    trainer.state, _ = trainer.step(
      trainer.state,
      *trainer.batch(step, step + 1),
      trainer.mesh.replicate(_numbers(0, 1)),
    )
  expected, _ = _on_one_device("idhn")
  stub_network.assert_equal_to_rounding(
    trainer.mesh.fetch(trainer.state), expected
  )


def test_seed_and_learning_rate_change_a_step():
  trainer = stub_network.Trainer()
  start = trainer.mesh.fetch(trainer.state)

  def changes(seed, learning_rate):
    state, _ = trainer.step(
      trainer.mesh.replicate(start),
      *trainer.batch(0, 1),
      trainer.mesh.replicate(_numbers(seed, learning_rate)),
    )
    new = trainer.mesh.fetch(state).params["head"]["dense"]["kernel"]
    return new - start.params["head"]["dense"]["kernel"]

  np.testing.assert_allclose(changes(0, 0.5), changes(0, 1) / 2, atol=1e-7)
  assert np.abs(changes(1, 1) - changes(0, 1)).max() > 1e-6
