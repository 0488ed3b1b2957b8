"""However steps are spread over devices and calls, they are the same steps."""

import jax
import pytest
import stub_network

NUM_STEPS = 3


@pytest.fixture(scope="module", params=["idhn", "hyp2"])
def one_device(request):
  """The method, the state after three steps and the metrics of each."""
  trainer = stub_network.Trainer(method=request.param)
  return request.param, *trainer.take_steps()


# hyp2 has parameters of its own, which need gradients as well.
@pytest.mark.parametrize("kind", ["pmap", "jit"])
def test_state_and_metrics_do_not_depend_on_the_devices(kind, one_device):
  method, *want = one_device
  state, metrics = stub_network.Trainer(kind, 8, method=method).take_steps()
  assert int(state.step) == NUM_STEPS
  assert jax.tree.leaves(state.batch_stats)
  assert bool(jax.tree.leaves(state.params["loss"])) == (method == "hyp2")
  stub_network.assert_equal_to_rounding([state, metrics], want)


def test_three_steps_in_one_call_are_three_calls(one_device):
  method, *want = one_device
  got = stub_network.Trainer(method=method).take_steps(per_dispatch=NUM_STEPS)
  stub_network.assert_equal_to_rounding([*got], want)


def test_activations_may_be_computed_again(one_device):
  method, *want = one_device
  if method != "idhn":
    pytest.skip("The loss makes no difference to it.")
  got = stub_network.Trainer(remat=True).take_steps()
  stub_network.assert_equal_to_rounding([*got], want)
