"""Every method learns: a small network on superposed digits.

The features differ from item to item at the start, as those of a pretrained
backbone do. From an untrained convolutional network, which at first sees all
pictures alike, dsh, dtsh and mihash stay at chance: benchmarks/results has the
table.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from sklearn import datasets

from configs import methods
from dsh_jax import losses
from dsh_jax.retrieval import codes, evaluate

BITS, BATCH, NUM_STEPS = 32, 64, 200
# Presets of another network or optimizer, with the loss of a plain name.
SAME_LOSS = {"idhn_release", "dsrh_release", "dsrh_two_layers"}


class Mlp(nn.Module):
  """Two dense layers, and BatchNorm of the logits where a method asks."""

  num_outputs: int
  batch_norm: bool

  @nn.compact
  def __call__(self, x):
    x = nn.relu(nn.Dense(128)(x))
    x = nn.Dense(self.num_outputs)(x)
    if self.batch_norm:
      x = (x - x.mean(axis=0, keepdims=True)) / x.std(axis=0, keepdims=True)
    return x


@pytest.fixture(scope="module")
def scenes():
  """Features [N,64], each the maximum of one to three digits, and labels."""
  digits = datasets.load_digits()
  rng = np.random.default_rng(0)
  features, labels = [], []
  for _ in range(2400):
    chosen = rng.choice(len(digits.target), rng.integers(1, 4))
    features.append(digits.data[chosen].max(axis=0) / 8 - 1)
    labels.append(np.isin(np.arange(10), digits.target[chosen]))
  return np.float32(features), np.uint8(labels)


def _train(method, features, labels):
  """Returns the packed codes of all items after a short training."""
  preset = methods.METHODS[method]
  loss = losses.make_loss(num_bits=BITS, num_classes=10, **preset["loss"])
  network = Mlp(
    loss.num_outputs, preset.get("model", {}).get("head_batch_norm", False)
  )
  rule = optax.adam(3e-3)

  @jax.jit
  def run(key, features, labels):
    network_key, loss_key = jax.random.split(key)
    params = {
      "network": network.init(network_key, features[:BATCH]),
      "loss": loss.init(loss_key),
    }

    def step(carry, number):
      params, state = carry
      rows = jax.random.choice(
        jax.random.fold_in(key, number), 2000, (BATCH,), replace=False
      )

      def objective(params):
        logits = network.apply(params["network"], features[rows])
        hashed = loss.activation(logits, number)
        return loss(params["loss"], hashed, labels[rows], step=number)[0]

      grads = jax.grad(objective)(params)
      updates, state = rule.update(grads, state, params)
      return (optax.apply_updates(params, updates), state), None

    (params, _), _ = jax.lax.scan(
      step, (params, rule.init(params)), jnp.arange(NUM_STEPS)
    )
    logits = network.apply(params["network"], features)
    return loss.encode(params["loss"], logits)

  return codes.pack(np.asarray(run(jax.random.key(0), features, labels)))


def _score(packed, labels):
  report = evaluate.evaluate_codes(
    packed[2000:], packed[:2000], labels[2000:], labels[:2000], BITS
  )
  scores = report["metrics"]["ndcg@100"]
  return scores["expected"], scores["chance"]


@pytest.mark.parametrize("method", sorted(set(methods.METHODS) - SAME_LOSS))
def test_validation_ndcg_rises_clearly_above_chance(method, scenes):
  score, chance = _score(_train(method, *scenes), scenes[1])
  assert 0.1 < chance < 0.3
  assert score > 1.6 * chance
