"""Every method learns on digit scenes, from pretrained features."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from configs import digits, methods
from dsh_jax import data, losses
from dsh_jax.config import factories
from dsh_jax.retrieval import codes, evaluation

BITS, BATCH, NUM_STEPS = 32, 256, 100
NUM_TRAIN, NUM_VALIDATION = 2000, 400
# Presets that change the network or the optimizer, not the loss.
SAME_LOSS = {"idhn_release", "dsrh_release", "dsrh_two_layers"}


class Mlp(nn.Module):
  """Two dense layers, and optional BatchNorm of the logits."""

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
def scenes(command):
  """Features [N,256] of the backbone trained on single digits, and labels."""
  config = digits.get_config(f"bits={BITS}")
  config.data.dir = command.data_dir
  config = factories.with_preprocessing(config)
  method = factories.create_method(config, 10)
  network = factories.create_network(config, method)
  tx = factories.create_optimizer(config, method, NUM_STEPS)
  state = factories.create_state(config, network, method, tx)
  augmentation = factories.create_augmentation(config).without_randomness

  @jax.jit
  def features(images):
    return network.apply(
      {"params": state.params, "batch_stats": state.batch_stats},
      augmentation(images),
      method="features",
    )

  splits = data.load_splits(data_dir=command.data_dir)
  parts, labels = [], []
  for split, count in (
    (splits.train, NUM_TRAIN),
    (splits.validation, NUM_VALIDATION),
  ):
    for rows in np.split(np.arange(count), count // 400):
      parts.append(features(split.take(rows)))
    labels.append(split.labels[:count])
  return np.concatenate(parts), np.concatenate(labels)


def _train(method, num_steps, features, labels):
  """Return the packed codes of all items after a short training."""
  # MIHash needs many items per bin; the time of DTSH grows with triplets.
  batch = {"mihash": 2 * BATCH, "dtsh": BATCH // 4}.get(method, BATCH)
  preset = methods.METHODS[method]
  method = losses.make_loss(num_bits=BITS, num_classes=10, **preset["loss"])
  network = Mlp(
    method.num_outputs, preset.get("model", {}).get("head_batch_norm", False)
  )
  tx = optax.adam(1e-3)

  @jax.jit
  def run(key, features, labels):
    network_key, loss_key = jax.random.split(key)
    params = {
      "network": network.init(network_key, features[:batch]),
      "loss": method.init(loss_key),
    }

    def step(carry, number):
      params, state = carry
      rows = jax.random.choice(
        jax.random.fold_in(key, number), NUM_TRAIN, (batch,), replace=False
      )

      def objective(params):
        logits = network.apply(params["network"], features[rows])
        relaxed = method.activation(logits, number)
        return method(params["loss"], relaxed, labels[rows], step=number)[0]

      grads = jax.grad(objective)(params)
      updates, state = tx.update(grads, state, params)
      return (optax.apply_updates(params, updates), state), None

    (params, _), _ = jax.lax.scan(
      step, (params, tx.init(params)), jnp.arange(num_steps)
    )
    logits = network.apply(params["network"], features)
    return method.encode(params["loss"], logits)

  return codes.pack(np.asarray(run(jax.random.key(0), features, labels)))


def _score(packed, labels, metric):
  report = evaluation.evaluate_codes(
    packed[NUM_TRAIN:],
    packed[:NUM_TRAIN],
    labels[NUM_TRAIN:],
    labels[:NUM_TRAIN],
    BITS,
    names=(metric,),
  )
  scores = report["metrics"][metric]
  return scores["expected"], scores["chance"]


@pytest.fixture(scope="module")
def untrained(scenes):
  """Codes of an untrained hash head."""
  return _train("idhn", 0, *scenes)


@pytest.mark.parametrize("method", sorted(set(methods.METHODS) - SAME_LOSS))
def test_scores_rise_above_chance(method, scenes, untrained):
  # DSH does not grade relevance: it also pulls together scenes without a shared
  # label, through a third scene.
  metric = "map@all" if method == "dsh" else "ndcg@100"
  start, chance = _score(untrained, scenes[1], metric)
  score, _ = _score(_train(method, NUM_STEPS, *scenes), scenes[1], metric)
  assert score > start + 0.02
  assert score > 1.2 * chance
