"""However steps are spread over devices and calls, they are the same steps."""

import functools

import jax
import pytest
import stub_network

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
