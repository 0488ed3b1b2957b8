"""However steps are spread over devices and calls, they are the same steps."""

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
  """Returns the state after three steps and the metrics of each."""
  return stub_network.Trainer(method=method).take_steps()


# hyp2 has parameters of its own, which need gradients as well.
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


def test_three_steps_in_one_call_are_three_calls():
  got = stub_network.Trainer().take_steps(per_dispatch=NUM_STEPS)
  stub_network.assert_equal_to_rounding(got, _on_one_device("idhn"))


def test_batch_norm_of_a_device_ends_with_one_state():
  trainer = stub_network.Trainer("pmap", 4, num_steps=1, sync_batch_norm=False)
  (state, _), (at_once, _) = trainer.take_steps(), _first_step()
  for x in jax.tree.leaves(trainer.state):
    shards = [np.asarray(shard.data) for shard in x.addressable_shards]
    assert all(np.array_equal(shard, shards[0]) for shard in shards)
  (found,) = state.batch_stats["backbone"].values()
  (want,) = at_once.batch_stats["backbone"].values()
  # Means of parts have the mean of the whole; variances of parts are smaller.
  np.testing.assert_allclose(found["mean"], want["mean"], atol=1e-6)
  assert np.all(found["var"] < want["var"])


def _first_step():
  return stub_network.Trainer(num_steps=1).take_steps()


def test_the_learning_rate_of_a_step_is_that_of_the_optimizer():
  schedule = optimizer.create_schedule("cosine", 0.05, NUM_STEPS, 1)
  _, metrics = stub_network.Trainer(learning_rate=schedule).take_steps()
  want = [schedule(step) for step in range(NUM_STEPS)]
  np.testing.assert_allclose(metrics["learning_rate"], want, rtol=1e-6)


def test_numbers_that_are_given_are_those_of_the_program():
  trainer = stub_network.Trainer()
  numbers = steps.RunNumbers(
    seed=np.asarray(0, np.int32), learning_rate=np.asarray(1, np.float32)
  )
  for step in range(NUM_STEPS):
    trainer.state, _ = trainer.step(
      trainer.state,
      *trainer.batch(step, step + 1),
      trainer.mesh.replicate(numbers),
    )
  want, _ = _on_one_device("idhn")
  stub_network.assert_equal_to_rounding(trainer.mesh.fetch(trainer.state), want)


def test_seed_and_learning_rate_change_a_step():
  trainer = stub_network.Trainer()
  start = trainer.mesh.fetch(trainer.state)

  def changes(seed, learning_rate):
    numbers = steps.RunNumbers(
      seed=np.asarray(seed, np.int32),
      learning_rate=np.asarray(learning_rate, np.float32),
    )
    state, _ = trainer.step(
      trainer.mesh.replicate(start),
      *trainer.batch(0, 1),
      trainer.mesh.replicate(numbers),
    )
    new = trainer.mesh.fetch(state).params["head"]["dense"]["kernel"]
    return new - start.params["head"]["dense"]["kernel"]

  np.testing.assert_allclose(changes(0, 0.5), changes(0, 1) / 2, atol=1e-7)
  assert np.abs(changes(1, 1) - changes(0, 1)).max() > 1e-6
