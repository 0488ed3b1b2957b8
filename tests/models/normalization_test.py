"""BatchNorm for accelerators computes what Flax's BatchNorm computes."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dsh_jax.models import normalization

CHANNELS = 5
_POOL = functools.partial(
  nn.max_pool, window_shape=(3, 3), strides=(2, 2), padding="SAME"
)


def _evaluate(branch, pool, axis_name, devices, use_running_average):
  """Return outcome, statistics and gradients of a branch, on the devices."""
  norm = normalization.BatchNorm(
    use_running_average, axis_name=axis_name, parent=None
  )
  rng = np.random.default_rng(0)
  x = rng.normal(0.5, 2, (devices, 4, 6, 6, CHANNELS)).astype(np.float32)
  # A scale of 0 would tie all values that are pooled.
  scale = np.array([1.5, -0.5, 0.01, -2.0, 0.3], np.float32)
  bias, mean = rng.normal(size=(2, CHANNELS)).astype(np.float32)
  var = rng.uniform(0.5, 2, CHANNELS).astype(np.float32)

  def objective(x, scale, bias):
    outcome = getattr(norm, branch)(
      pool, axis_name, x, scale, bias, jnp.asarray(mean), jnp.asarray(var)
    )
    weights = np.random.default_rng(1).normal(size=outcome[0].shape)
    return jnp.sum(outcome[0] * weights.astype(np.float32)), outcome

  compute = jax.value_and_grad(objective, (0, 1, 2), has_aux=True)
  compute = jax.pmap(compute, axis_name or "batch", in_axes=(0, None, None))
  (_, outcome), gradients = compute(x, scale, bias)
  return (*outcome, *gradients)


@pytest.mark.parametrize("pool", [None, _POOL], ids=["alone", "pool"])
@pytest.mark.parametrize(
  "axis_name, devices, use_running_average",
  [(None, 1, False), (None, 1, True), ("batch", 4, False)],
  ids=["training", "evaluation", "axis"],
)
def test_folded_equals_flax(pool, axis_name, devices, use_running_average):
  arguments = pool, axis_name, devices, use_running_average
  folded = _evaluate("_folded", *arguments)
  expected = _evaluate("_as_flax", *arguments)
  names = ("outcome", "mean", "var", "d x", "d scale", "d bias")
  for name, actual, wanted in zip(names, folded, expected, strict=True):
    assert actual.dtype == wanted.dtype and np.abs(wanted).max() > 0, name
    scale = np.abs(wanted).max()
    np.testing.assert_allclose(
      actual / scale, wanted / scale, atol=1e-5, err_msg=name
    )
