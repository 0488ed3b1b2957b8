"""The compiled functions of a run, cached in the process.

Runs that differ only in seed, learning rate and data share them: a table of
many runs in one process compiles once per method and code length.
"""

import dataclasses
import json
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
import ml_collections
import numpy as np
import optax

from dsh_jax import losses, parallel, steps
from dsh_jax.config import factories, fields
from dsh_jax.runs import encoding

_cache: dict[str, "Programs"] = {}


@dataclasses.dataclass(frozen=True)
class Programs:
  """Functions that compile on their first call.

  Attributes:
    method: The hashing method.
    network: Images -> logits.
    tx: The optimizer, at a learning rate of 1.
    train_steps: `steps.scan_steps` on the devices; takes `numbers`.
    encoder: Weights and images -> packed codes and real-valued outputs.
    outputs: ((params, batch_stats), images uint8 [B/P,H,W,3] or vectors float
      [B/P,F]) -> float32 [1,B/P,num_outputs+K], logits and relaxed codes, for
      `DeviceMesh.gather`.
  """

  method: losses.Method
  network: nn.Module
  tx: optax.GradientTransformation
  train_steps: Callable
  encoder: encoding.BatchEncoder
  outputs: Callable


def load(
  config: ml_collections.ConfigDict,
  mesh: parallel.DeviceMesh,
  num_classes: int,
  num_steps: int,
) -> Programs:
  """Return the programs of a configuration.

  Args:
    config: As in configs/default.py.
    mesh: The devices.
    num_classes: L.
    num_steps: Steps of the whole training.

  Raises:
    UserError: As the functions of `factories`.
  """
  key = _key(config, mesh, num_classes, num_steps)
  if key not in _cache:
    _cache[key] = _make(config, mesh, num_classes, num_steps)
  return _cache[key]


def numbers(config: ml_collections.ConfigDict) -> steps.RunNumbers:
  """Return the seed and rate that `Programs.train_steps` takes, host arrays."""
  return steps.RunNumbers(
    seed=np.asarray(config.seed, np.int32),
    learning_rate=np.asarray(config.optimizer.learning_rate, np.float32),
  )


def _key(config, mesh, num_classes, num_steps) -> str:
  shared = config.copy_and_resolve_references()
  shared.optimizer.learning_rate = 1.0
  if shared.loss.name not in losses.SEEDED:
    shared.seed = 0
  parts: dict[str, Any] = fields.flatten(shared)
  return json.dumps(
    [parts, mesh.num_devices, num_classes, num_steps], sort_keys=True
  )


def _make(config, mesh, num_classes, num_steps) -> Programs:
  config = config.copy_and_resolve_references()
  config.optimizer.learning_rate = 1.0
  method = factories.create_method(config, num_classes, num_steps)
  network = factories.create_network(config, method, mesh.axis_name)
  tx = factories.create_optimizer(config, method, num_steps)
  augmentation = factories.create_training_augmentation(config)
  train_step = factories.make_train_step(
    config, network, method, tx, num_steps, mesh.axis_name
  )
  encode_step = steps.make_encode_step(
    network, method, augmentation, with_outputs=True
  )

  def outputs(weights, images):
    params, batch_stats = weights
    params = dict(params)
    loss_params = params.pop("loss")
    logits = network.apply(
      {"params": params, "batch_stats": batch_stats},
      augmentation.without_randomness(images),
      train=False,
    )
    relaxed = method.encode(loss_params, logits)
    both = jnp.concatenate([logits, relaxed], axis=1, dtype=jnp.float32)
    return both[None]

  return Programs(
    method=method,
    network=network,
    tx=tx,
    train_steps=mesh.parallelize(
      steps.scan_steps(train_step), donate_state=True
    ),
    encoder=encoding.BatchEncoder(encode_step, mesh, config.eval.batch_size),
    outputs=mesh.parallelize(outputs),
  )
