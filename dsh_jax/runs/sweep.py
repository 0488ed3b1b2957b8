"""Trains heads on fixed features, all seeds of a method at once.

Each seed gives, to rounding, the last epoch of a run with that seed. Features
stay on the device, and one program takes the steps of all seeds.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.extend
import jax.numpy as jnp
import ml_collections
import numpy as np

from dsh_jax import data, errors, losses, steps
from dsh_jax.config import factories
from dsh_jax.data import augment, batches
from dsh_jax.runs import encoding

_STEPS = 256  # Steps of one call.
_ROWS = 4096  # Items of an encoding batch.


def train(
  config: ml_collections.ConfigDict,
  splits: data.Splits,
  seeds: Sequence[int],
  device: jax.Device | None = None,
) -> Callable[[data.Split], np.ndarray]:
  """Train one head per seed.

  Args:
    config: As in configs/default.py; its seed is ignored.
    splits: Features.
    seeds: The seeds.
    device: Where to train; None is the default.

  Returns:
    Function from a split to packed codes uint32 [seeds,N,ceil(K/32)].

  Raises:
    UserError: As `losses.make_loss`, or there are too few training items.
    NonFiniteError: The head of a seed is not finite.
  """
  with jax.default_device(device):
    return _train(config, splits, list(seeds))


def _train(config, splits, seeds):
  train, size = splits.train, config.train.batch_size
  features = train.take(np.arange(len(train)))
  per_epoch = len(train) // size
  num_steps = per_epoch * config.train.num_epochs
  methods = [
    _method(config, splits.num_classes, seed, num_steps) for seed in seeds
  ]
  network = factories.create_network(config, methods[0])
  tx = factories.create_optimizer(config, methods[0], num_steps)
  # All seeds share the mean and deviation of the features.
  constants = factories.create_state(
    config, network, methods[0], tx, features
  ).params.get("backbone", {})

  def create(seed):
    shape, key = features.shape[1:], jax.random.key(seed)
    state = steps.create_state(network, methods[0], tx, shape, key)
    params = {**state.params}
    if "backbone" in params:
      kept = {n: x for n, x in constants.items() if n in ("mean", "scale")}
      params["backbone"] = {**params["backbone"], **kept}
    return state.replace(params=params)

  numbers = jnp.asarray(seeds, jnp.int32)
  state = jax.jit(jax.vmap(create))(numbers)

  def make_step(method):
    train_step = factories.make_train_step(
      config, network, method, tx, num_steps
    )

    def step(seed, state, vectors, labels):
      run_numbers = steps.RunNumbers(seed=seed, learning_rate=1.0)
      return train_step(state, vectors, labels, run_numbers)

    return step

  one = jax.tree.map(lambda x: x[0], state)
  width = features.shape[1]
  step, consts = _for_all(
    [make_step(method) for method in methods],
    numbers[0],
    one,
    jnp.zeros((size, width), features.dtype),
    jnp.zeros((size, splits.num_classes), jnp.uint8),
  )

  @functools.partial(jax.jit, donate_argnums=0)
  def run(state, rows, features, labels):
    def scanned(state, rows):  # int32 [seeds,B]
      state, _ = jax.vmap(step)(
        consts, numbers, state, features[rows], labels[rows]
      )
      return state, None

    return jax.lax.scan(scanned, state, rows)[0]

  on_device = jnp.asarray(features), jnp.asarray(train.labels)
  for first in range(0, num_steps, _STEPS):
    rows = [
      [batches.batch_indices(seed, step, len(train), size) for seed in seeds]
      for step in range(first, min(first + _STEPS, num_steps))
    ]
    state = run(state, jnp.asarray(rows, jnp.int32), *on_device)
  if (bad := np.asarray(state.first_bad_step).max()) >= 0:
    raise errors.NonFiniteError(
      f"Step {bad + 1} of {config.method} is not finite. Lower"
      " config.optimizer.learning_rate."
    )
  return _make_encoder(network, methods, state, features)


def _make_encoder(network, methods, state, features):
  weights = state.params, state.batch_stats
  encode_steps = [
    steps.make_encode_step(network, method, augment.Unchanged())
    for method in methods
  ]
  encode, consts = _for_all(
    encode_steps,
    jax.tree.map(lambda x: x[0], weights),
    jnp.zeros((_ROWS, features.shape[1]), features.dtype),
  )

  @jax.jit
  def encode_all(weights, vectors):
    return jax.vmap(encode, (0, 0, None))(consts, weights, vectors)

  def packed(split: data.Split) -> np.ndarray:
    parts = []
    for first in range(0, len(split), _ROWS):
      # The last batch is padded with copies of the last item.
      rows = np.minimum(np.arange(first, first + _ROWS), len(split) - 1)
      words, has_nan = encode_all(weights, split.take(rows))
      encoding.check_finite(np.asarray(has_nan).any(axis=0))
      parts.append(np.asarray(words))
    return np.concatenate(parts, axis=1)[:, : len(split)]

  return packed


def _method(config, num_classes, seed, num_steps) -> losses.Method:
  config = config.copy_and_resolve_references()
  config.seed = seed
  return factories.create_method(config, num_classes, num_steps)


def _for_all(
  functions: Sequence[Callable], *args: Any
) -> tuple[Callable, tuple[jax.Array, ...]]:
  """Merge functions that differ only in constants, such as a codebook.

  Args:
    functions: One per seed.
    *args: Arguments of one call, for their shapes.

  Returns:
    A function of (constants of one seed, *args), and the constants of all
    seeds with a leading axis.
  """
  traced = [jax.make_jaxpr(f, return_shape=True)(*args) for f in functions]
  first, shape = traced[0]
  if len({str(closed.jaxpr) for closed, _ in traced}) > 1:
    # More than constants differ: vmap computes all branches and picks one.
    number = jnp.arange(len(functions))

    def pick(consts, *args):
      return jax.lax.switch(consts[0], functions, *args)

    return pick, (number,)
  consts = tuple(
    jnp.stack([jnp.asarray(x) for x in same])
    for same in zip(*(closed.consts for closed, _ in traced), strict=True)
  )
  run = jax.extend.core.jaxpr_as_fun

  def call(consts, *args):
    closed = jax.extend.core.ClosedJaxpr(first.jaxpr, consts)
    found = run(closed)(*jax.tree.leaves(args))
    return jax.tree.unflatten(jax.tree.structure(shape), found)

  return call, consts
