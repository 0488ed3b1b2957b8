"""The train step and the encode step, as pure functions."""

from collections.abc import Callable
from typing import Any

import flax
import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from dsh_jax import losses
from dsh_jax.data import augment
from dsh_jax.retrieval import codes as codes_lib

Arrays = Any  # A tree of arrays.


@flax.struct.dataclass
class TrainState:
  """The state of training.

  Attributes:
    step: int32 scalar, steps taken.
    params: {"backbone", "head", "loss"} -> trees of float32.
    batch_stats: BatchNorm's running statistics, {} without BatchNorm.
    opt_state: State of the optimizer.
    first_bad_step: int32 scalar, the first step, from 0, with a loss, gradient
      or running statistics that are not finite; -1 if none.
    num_skipped: int32 scalar, steps without an update.
  """

  step: jax.Array
  params: Arrays
  batch_stats: Arrays
  opt_state: Arrays
  first_bad_step: jax.Array
  num_skipped: jax.Array


@flax.struct.dataclass
class RunNumbers:
  """Numbers that differ between runs of one compiled program.

  Attributes:
    seed: int32 scalar, see `make_train_step`.
    learning_rate: float32 scalar, factor on the optimizer's learning rate.
  """

  seed: jax.Array
  learning_rate: jax.Array


def create_state(
  network: nn.Module,
  method: losses.Method,
  optimizer: optax.GradientTransformation,
  input_shape: tuple[int, ...],
  key: jax.Array,
) -> TrainState:
  """Return the state before the first step.

  Args:
    network: Images -> logits.
    method: From `losses.make_loss`.
    optimizer: From `optimizer.create_optimizer`.
    input_shape: (H,W,3) of the network's images, or (F,) of its vectors.
    key: PRNG key of all parameters.

  Raises:
    UserError: The images are too small for the network.
  """
  network_key, loss_key = jax.random.split(key)
  images = jnp.zeros((1, *input_shape), jnp.float32)
  variables = network.init(network_key, images, train=False)
  params = {**variables["params"], "loss": method.init(loss_key)}
  return TrainState(
    step=jnp.zeros((), jnp.int32),
    params=params,
    batch_stats=variables.get("batch_stats", {}),
    opt_state=optimizer.init(params),
    first_bad_step=jnp.full((), -1, jnp.int32),
    num_skipped=jnp.zeros((), jnp.int32),
  )


def make_train_step(
  network: nn.Module,
  method: losses.Method,
  optimizer: optax.GradientTransformation,
  augmentation: augment.Augmentation,
  *,
  seed: int,
  batch_size: int,
  axis_name: str | None = None,
  accumulate: int = 1,
  skip_nonfinite: bool = False,
  sync_batch_norm: bool = True,
  learning_rate: optax.Schedule | None = None,
) -> Callable[..., tuple[TrainState, dict[str, jax.Array]]]:
  """Return the train step.

  The loss is that of the global batch. With an axis, every device gathers all
  codes and labels (B x (K + L) numbers) and computes the whole loss. Gradients
  are averaged: the backward pass of the gather sums the P equal losses, so the
  average is the gradient of one.

  Args:
    network: Images -> logits.
    method: From `losses.make_loss`.
    optimizer: From `optimizer.create_optimizer`.
    augmentation: Applied to uint8 images.
    seed: Augmentation and dropout of step t use fold_in(seed, t); >= 0.
    batch_size: B, the global batch, a multiple of P.
    axis_name: The pmap axis; None under jit, where arrays are global.
    accumulate: Number of parts of a device's batch; divides B/P. The network
      computes one part at a time, and again in the backward pass, to save
      memory; the loss is that of the whole batch (Gao et al. 2021,
      "GradCache"). BatchNorm and dropout are per part.
    skip_nonfinite: Skip only the updates that are not finite. Otherwise skip
      all updates from the first such step on.
    sync_batch_norm: Whether the network's BatchNorm uses `axis_name`.
      Otherwise its running statistics are averaged over devices.
    learning_rate: The optimizer's schedule, to report.

  Returns:
    (state, images uint8 [B/P,H,W,3], labels uint8 [B/P,L], numbers) -> (state,
    metrics). Metrics are float32 scalars: loss, its terms, gradient_norm, and
    learning_rate if its schedule is given; num_skipped, int32; and is_finite,
    bool. The optional `RunNumbers` replace `seed` and scale the learning rate.
  """

  def forward(params, batch_stats, images, dropout_key):
    variables = {"params": params, "batch_stats": batch_stats}
    logits, updates = network.apply(
      variables,
      images,
      train=True,
      mutable=["batch_stats"],
      rngs={"dropout": dropout_key},
    )
    return logits, updates.get("batch_stats", {})

  def forward_in_parts(params, batch_stats, images, dropout_key):
    # A part is every accumulate-th image. So under jit no row leaves its
    # device, and parts are the same for any number of devices.
    parts = images.reshape(-1, accumulate, *images.shape[1:]).swapaxes(0, 1)
    keys = jax.random.split(dropout_key, accumulate)

    @jax.checkpoint
    def forward_part(part):
      return forward(params, batch_stats, *part)

    logits, stats = jax.lax.map(forward_part, (parts, keys))
    mean = jax.tree.map(lambda x: x.mean(axis=0), stats)
    return logits.swapaxes(0, 1).reshape(-1, logits.shape[-1]), mean

  def gather(x):
    if axis_name is None:
      return x
    return jax.lax.all_gather(x, axis_name, tiled=True)

  def average(x):
    return x if axis_name is None else jax.lax.pmean(x, axis_name)

  def train_step(state, images, labels, numbers=None):
    numbers = numbers or RunNumbers(seed=seed, learning_rate=1.0)
    augment_key, dropout_key = jax.random.split(
      jax.random.fold_in(jax.random.key(numbers.seed), state.step)
    )
    device = 0
    if axis_name is not None:
      device = jax.lax.axis_index(axis_name)
      dropout_key = jax.random.fold_in(dropout_key, device)
    with jax.named_scope("augmentation"):
      inputs = augmentation(
        augment_key, images, batch_size, device * images.shape[0]
      )

    def objective(params):
      params = dict(params)
      loss_params = params.pop("loss")
      run = forward if accumulate == 1 else forward_in_parts
      logits, stats = run(params, state.batch_stats, inputs, dropout_key)
      with jax.named_scope("loss"):
        codes = method.activation(logits, state.step)
        value, terms = method(
          loss_params, gather(codes), gather(labels), step=state.step
        )
      return value, (terms, stats)

    (value, (terms, stats)), grads = jax.value_and_grad(
      objective, has_aux=True
    )(state.params)
    grads = average(grads)
    if not sync_batch_norm:
      stats = average(stats)
    with jax.named_scope("optimizer"):
      norm = optax.tree.norm(grads)
      updates, opt_state = optimizer.update(
        grads, state.opt_state, state.params
      )
      updates = jax.tree.map(lambda x: x * numbers.learning_rate, updates)
      params = optax.apply_updates(state.params, updates)

    # Activations that overflow can leave a finite loss, as BatchNorm divides by
    # them, but running statistics that make every code NaN.
    finite = jnp.isfinite(value) & jnp.isfinite(norm)
    for x in jax.tree.leaves(stats):
      finite &= jnp.all(jnp.isfinite(x))
    update = finite if skip_nonfinite else finite & (state.first_bad_step < 0)

    def select(new, old):
      return jax.tree.map(lambda n, o: jnp.where(update, n, o), new, old)

    metrics = {"loss": value, **terms, "gradient_norm": norm}
    if learning_rate is not None:
      num_updates = state.step - state.num_skipped
      rate = learning_rate(num_updates) * numbers.learning_rate
      metrics["learning_rate"] = jnp.float32(rate)
    is_first = ~finite & (state.first_bad_step < 0)
    state = TrainState(
      step=state.step + 1,
      params=select(params, state.params),
      batch_stats=select(stats, state.batch_stats),
      opt_state=select(opt_state, state.opt_state),
      first_bad_step=jnp.where(is_first, state.step, state.first_bad_step),
      num_skipped=state.num_skipped + ~update,
    )
    metrics |= {"is_finite": finite, "num_skipped": state.num_skipped}
    return state, metrics

  return train_step


def scan_steps(train_step: Callable) -> Callable:
  """Return a function that takes n >= 1 train steps in one call.

  Args:
    train_step: From `make_train_step`.

  Returns:
    (state, images uint8 [n,B/P,H,W,3], labels uint8 [n,B/P,L], numbers) ->
    (state, metrics), with a leading axis of n for the metrics.
  """

  def steps(state, images, labels, numbers=None):
    def one_step(state, batch):
      return train_step(state, *batch, numbers)

    # XLA's CPU backend runs convolutions in loops several times slower.
    if len(images) > 1:
      return jax.lax.scan(one_step, state, (images, labels))
    state, metrics = one_step(state, (images[0], labels[0]))
    return state, jax.tree.map(lambda x: x[None], metrics)

  return steps


def make_encode_step(
  network: nn.Module,
  method: losses.Method,
  augmentation: augment.Augmentation,
  with_outputs: bool = False,
) -> Callable[..., tuple[jax.Array, ...]]:
  """Return the function from images to packed hash codes.

  Args:
    network: Images -> logits.
    method: From `losses.make_loss`.
    augmentation: Only the centre crop and the normalisation are used.
    with_outputs: Whether to return also the outputs whose signs are the codes.

  Returns:
    ((params, batch_stats), images uint8 [B/P,H,W,3]) -> the result of
    `codes.pack_traced`, uint32 [B/P,ceil(K/32)] and bool [B/P]; then the
    outputs, float32 [B/P,K].
  """

  def encode_step(weights, images):
    params, batch_stats = weights
    params = dict(params)
    loss_params = params.pop("loss")
    logits = network.apply(
      {"params": params, "batch_stats": batch_stats},
      augmentation.without_randomness(images),
      train=False,
    )
    outputs = method.encode(loss_params, logits)
    packed = codes_lib.pack_traced(outputs)
    return (*packed, outputs.astype(jnp.float32)) if with_outputs else packed

  return encode_step
