"""The interface of a loss: how logits become codes, and the cost of codes.

A loss is a factory `f(num_bits, num_classes, seed, *, setting=default, ...)`
that returns a `Method`. num_bits is K, num_classes L; the seed, at least 0,
determines everything that is drawn. An unknown word for a setting, or a number
out of its limits, raises UserError. A factory's docstring explains its settings
under `Settings` and the values that it reports under `Terms`. Losses over pairs
include self-pairs in B x B, and gradients flow through both items.
"""

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from dsh_jax import errors
from dsh_jax.losses import activations

Params = dict[str, jax.Array]
Terms = dict[str, jax.Array]
Objective = Callable[
  [Params, jax.Array, jax.Array, jax.Array], tuple[jax.Array, Terms]
]


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Method:
  """A loss with its activation.

  Attributes:
    num_bits: K.
    num_classes: L.
    objective: (params, codes [B,num_outputs], labels [B,L], step) -> (value,
      terms), as `__call__`; codes and labels have the same float type.
    activation: (logits [B,num_outputs], step) -> codes of the same shape.
    activation_steps: Steps over which the activation changes, which `make_loss`
      rescales to those of the run; None if it is constant.
    num_outputs: Width of the head, K by default.
    init: PRNG key -> the loss's own parameters, float32.
    encode: (params, logits) -> float [B,K] whose sign is the hash code.
    learning_rate_multiplier: Factor on the learning rate of these parameters.
    name: Key in `LOSSES`, set by `make_loss`.
    settings: All settings, defaults included, set by `make_loss`.
  """

  num_bits: int
  num_classes: int
  objective: Objective
  activation: activations.Activation = activations.tanh
  activation_steps: int | None = None
  num_outputs: int | None = None
  init: Callable[[jax.Array], Params] = lambda key: {}
  encode: Callable[[Params, jax.Array], jax.Array] = (
    lambda params, logits: logits  # Activations keep the sign of a logit.
  )
  learning_rate_multiplier: float = 1.0
  name: str = ""
  settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)

  def __post_init__(self):
    if self.num_outputs is None:
      object.__setattr__(self, "num_outputs", self.num_bits)

  def __call__(
    self,
    params: Params,
    codes: jax.Array,
    labels: jax.Array,
    step: jax.Array | int = 0,
  ) -> tuple[jax.Array, Terms]:
    """Compute the loss of a global batch.

    Args:
      params: From `init`.
      codes: [B,num_outputs] after `activation`; computed in float32, or in
        float64 if the codes are.
      labels: [B,L] of 0 and 1, any type.
      step: Training step, from 0; may be traced.

    Returns:
      The value and a dict of terms to report, scalars of that float type.

    Raises:
      ValueError: The shapes do not fit the loss.
    """
    if codes.ndim != 2 or codes.shape[1] != self.num_outputs:
      raise ValueError(
        f"{self.name}: codes have shape {codes.shape},"
        f" expected [B,{self.num_outputs}]."
      )
    if labels.shape != (codes.shape[0], self.num_classes):
      raise ValueError(
        f"{self.name}: labels have shape {labels.shape},"
        f" expected {(codes.shape[0], self.num_classes)}."
      )
    dtype = jnp.promote_types(codes.dtype, jnp.float32)
    return self.objective(
      params, codes.astype(dtype), labels.astype(dtype), jnp.asarray(step)
    )


def check_choice(setting: str, value: str, allowed: tuple[str, ...]) -> None:
  """Raise UserError unless the value of config.loss.SETTING is allowed."""
  if value not in allowed:
    raise errors.unknown(setting, value, allowed, f"config.loss.{setting}")


def check_positive(setting: str, value: float) -> None:
  """Raise UserError unless the value of config.loss.SETTING is above 0."""
  if value <= 0:
    raise errors.UserError(
      f"config.loss.{setting} is {value}; allowed: above 0."
    )


def check_between(
  setting: str, value: float, low: float, high: float = math.inf
) -> None:
  """Raise UserError unless config.loss.SETTING is from `low` to `high`."""
  if not low <= value <= high:
    upper = " or more" if math.isinf(high) else f" to {high}"
    raise errors.UserError(
      f"config.loss.{setting} is {value}; allowed: {low}{upper}."
    )
