"""Optimizers and schedules against loops in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dsh_jax.config import optimizer

_DECAY = 0.1
_RATES = (0.01, 0.02, 0.005, 0.03)
# The longest matching prefix applies; "head" does not match "header".
_MULTIPLIERS = (("head", 10.0), ("head/bias", 20.0), ("backbone", 0.5))
_FACTORS = {
  "backbone/kernel": 0.5,
  "head/kernel": 10.0,
  "head/bias": 20.0,
  "header/kernel": 1.0,
}


def _make(seed):
  rng = np.random.default_rng(seed)
  return {
    name: rng.normal(size=3 if name.endswith("bias") else (2, 3))
    for name in _FACTORS
  }


def _to_tree(flat):
  tree = {}
  for path, value in flat.items():
    outer, inner = path.split("/")
    tree.setdefault(outer, {})[inner] = jnp.asarray(value, jnp.float32)
  return tree


def _loop(name, params, gradients):
  """Take the steps parameter by parameter, by the papers' formulas."""
  result = {}
  for path, x in params.items():
    decay = 0 if path.endswith("bias") else _DECAY
    first, second = np.zeros_like(x), np.zeros_like(x)
    for step, (rate, gradient) in enumerate(
      zip(_RATES, gradients, strict=True), start=1
    ):
      g = gradient[path] + (decay * x if name != "adamw" else 0)
      if name == "sgd":
        first = 0.9 * first + g
        update = first
      else:
        first = 0.9 * first + 0.1 * g
        second = 0.999 * second + 0.001 * g**2
        update = (first / (1 - 0.9**step)) / (
          np.sqrt(second / (1 - 0.999**step)) + 1e-8
        )
      if name == "adamw":
        update = update + decay * x
      x = x - rate * _FACTORS[path] * update
    result[path] = x
  return result


@pytest.mark.parametrize("name", ["adamw", "adam", "sgd"])
def test_optimizers_equal_a_loop(name):
  params, gradients = _make(0), [_make(1 + i) for i in range(len(_RATES))]
  tx = optimizer.create_optimizer(
    name,
    lambda step: jnp.asarray(_RATES)[step],
    weight_decay=_DECAY,
    multipliers=_MULTIPLIERS,
  )
  actual = _to_tree(params)
  state = tx.init(actual)
  for gradient in gradients:
    updates, state = tx.update(_to_tree(gradient), state, actual)
    actual = optax.apply_updates(actual, updates)
  expected = _to_tree(_loop(name, params, gradients))
  jax.tree.map(
    lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-6),
    actual,
    expected,
  )


def _rates(name, num_steps, halve_every_steps=0, drop_at=()):
  schedule = optimizer.create_schedule(
    name, 0.4, num_steps, halve_every_steps, drop_at
  )
  return np.array([schedule(step) for step in range(num_steps)])


def test_one_cycle():
  rates = _rates("one_cycle", 100)
  assert rates.argmax() == 30
  np.testing.assert_allclose(rates[30], 0.4, rtol=1e-6)
  assert (np.diff(rates[:31]) > 0).all() and (np.diff(rates[30:]) < 0).all()
  np.testing.assert_allclose(rates[15], (rates[0] + rates[30]) / 2, rtol=1e-5)
  assert rates[0] < 0.02 and rates[-1] < 0.001
  assert np.isfinite(_rates("one_cycle", 1)).all()


def test_other_schedules():
  np.testing.assert_allclose(_rates("constant", 5), 0.4)
  np.testing.assert_allclose(
    _rates("cosine", 8), 0.2 + 0.2 * np.cos(np.pi * np.arange(8) / 8), rtol=1e-5
  )
  np.testing.assert_allclose(
    _rates("halve", 7, 3), [0.4, 0.4, 0.4, 0.2, 0.2, 0.2, 0.1], rtol=1e-6
  )
  np.testing.assert_allclose(
    _rates("drop", 8, drop_at=(0.5, 0.75)),
    [0.4] * 4 + [0.04] * 2 + [0.004] * 2,
    rtol=1e-6,
  )
