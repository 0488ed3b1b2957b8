"""Tests of dsh_jax.runs.programs: which runs share what is compiled."""

import jax
import numpy as np
import pytest

from configs import digits
from dsh_jax import losses, parallel
from dsh_jax.runs import programs


def _load(arg, **optimizer):
  config = digits.get_config(arg)
  config.optimizer.update(optimizer)
  mesh = parallel.DeviceMesh("jit")
  return programs.load(config, mesh, num_classes=10, num_steps=4)


def test_seed_and_learning_rate_share_a_program():
  first = _load("method=idhn,bits=8,seed=1", learning_rate=0.1)
  assert _load("method=idhn,bits=8,seed=2", learning_rate=0.2) is first
  assert _load("method=idhn,bits=9,seed=1") is not first
  assert _load("method=dhn,bits=8,seed=1") is not first
  assert _load("method=idhn,bits=8", weight_decay=0.5) is not first


@pytest.mark.parametrize("name", sorted(losses.LOSSES))
def test_only_losses_without_a_draw_share_it_between_seeds(name):
  one, other = (_load(f"method={name},bits=8,seed={seed}") for seed in (1, 2))
  assert (one is other) == (name not in losses.SEEDED)


@pytest.mark.parametrize("name", sorted(set(losses.LOSSES) - losses.SEEDED))
def test_other_losses_are_the_same_for_all_seeds(name):
  rng = np.random.default_rng(0)
  labels = (rng.random((12, 5)) < 0.4).astype(np.float32)
  values = []
  for seed in (1, 2):
    method = losses.make_loss(name, num_bits=8, num_classes=5, seed=seed)
    codes = np.linspace(-1, 1, 12 * method.num_outputs, dtype=np.float32)
    codes = codes.reshape(12, -1)
    values.append(method(method.init(jax.random.key(0)), codes, labels, 3)[0])
  assert values[0] == values[1]
