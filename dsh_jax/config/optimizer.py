"""Learning-rate schedules and optimizers."""

from collections.abc import Sequence

import jax
import optax


def create_schedule(
  name: str,
  learning_rate: float,
  num_steps: int,
  halve_every_steps: int,
  drop_at: Sequence[float] = (),
) -> optax.Schedule:
  """Return the learning rate as a function of the step, from 0.

  Args:
    name: "one_cycle" (cosine up over 30 % of the steps, then down; Smith &
      Topin 2018), "cosine" (down to 0), "constant", "halve", or "drop" (to a
      tenth, once or several times).
    learning_rate: Peak, > 0.
    num_steps: Training steps, at least 1.
    halve_every_steps: Steps between halvings of "halve", at least 1.
    drop_at: Fractions of the training at which "drop" drops.
  """
  if name == "one_cycle":
    # optax needs at least one rising step.
    return optax.cosine_onecycle_schedule(max(num_steps, 4), learning_rate)
  if name == "cosine":
    return optax.cosine_decay_schedule(learning_rate, num_steps)
  if name == "halve":
    return optax.exponential_decay(
      learning_rate, halve_every_steps, 0.5, staircase=True
    )
  if name == "drop":
    return optax.piecewise_constant_schedule(
      learning_rate, {round(share * num_steps): 0.1 for share in drop_at}
    )
  return optax.constant_schedule(learning_rate)


def create_optimizer(
  name: str,
  schedule: optax.Schedule,
  *,
  weight_decay: float = 0.0,
  momentum: float = 0.9,
  multipliers: Sequence[tuple[str, float]] = (),
) -> optax.GradientTransformation:
  """Return the optimizer of all parameters.

  Args:
    name: "adamw", "adam" or "sgd".
    schedule: Step -> learning rate.
    weight_decay: Decoupled for "adamw" (times the learning rate and
      multiplier), L2 for "adam" and "sgd"; only for weights with more than one
      axis.
    momentum: Of "sgd".
    multipliers: Pairs (path prefix, factor on the learning rate); a path is
      like "head/fc7/kernel", and the longest matching prefix applies.
  """
  decay = optax.add_decayed_weights(weight_decay, mask=_is_matrix)
  if name == "adamw":
    transforms = [optax.scale_by_adam(), decay]
  elif name == "adam":
    transforms = [decay, optax.scale_by_adam()]
  else:
    transforms = [decay, optax.trace(momentum)]
  return optax.chain(
    *transforms,
    _scale_by_path(multipliers),
    optax.scale_by_learning_rate(schedule),
  )


def _is_matrix(params):
  return jax.tree.map(lambda x: x.ndim > 1, params)


def _scale_by_path(multipliers):
  longest_first = sorted(multipliers, key=lambda pair: -len(pair[0]))

  def factor(path):
    name = jax.tree_util.keystr(path, simple=True, separator="/")
    for prefix, value in longest_first:
      if f"{name}/".startswith(f"{prefix}/"):
        return value
    return 1.0

  def scale(updates, params=None):
    return jax.tree_util.tree_map_with_path(
      lambda path, x: x * factor(path), updates
    )

  return optax.stateless(scale)
