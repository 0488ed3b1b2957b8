"""What every loss is: functions of (params, codes, labels, step) and a name.

A method is a factory `f(num_bits, num_classes, seed, *, setting=default, ...)`
that returns a `Loss`. The keyword-only arguments are its settings.
"""

import dataclasses
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


def _no_params(key: jax.Array) -> Params:
  """Returns the parameters of a loss that has none."""
  del key
  return {}


def _encode_logits(params: Params, logits: jax.Array) -> jax.Array:
  """Returns the logits: every activation here keeps the sign of a logit."""
  del params
  return logits


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Method:
  """A method: how logits become codes and what the codes should be like.

  Attributes:
    num_bits: K.
    num_classes: L.
    objective: (params, codes [B,num_outputs], labels [B,L], step) -> (value,
      terms), as `__call__`; codes and labels have the same float type.
    activation: (logits [B,num_outputs], step) -> codes of the same shape.
    activation_steps: Steps over which the activation changes; `make_loss`
      stretches or shortens them to the steps of the run. None: it does not.
    num_outputs: Width of the head; None stands for K.
    init: PRNG key -> the parameters of the loss itself, float32; {} for most.
    encode: (params, logits) -> float [B,K] whose sign is the hash code.
    learning_rate_multiplier: Factor on the learning rate of what `init`
      returns.
    name: Key in `LOSSES`; set by `make_loss`.
    settings: All settings with defaults filled in; set by `make_loss`.
  """

  num_bits: int
  num_classes: int
  objective: Objective
  activation: activations.Activation = activations.tanh
  activation_steps: int | None = None
  num_outputs: int | None = None
  init: Callable[[jax.Array], Params] = _no_params
  encode: Callable[[Params, jax.Array], jax.Array] = _encode_logits
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
    """Computes the loss of a whole global batch.

    Args:
      params: What `init` returned.
      codes: [B,num_outputs] after `activation`; computed in float32, or in
        float64 where the codes are float64.
      labels: [B,L] of 0 and 1, any type.
      step: Number of the training step, from 0; may be traced.

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


def check_choice(setting: str, given: str, allowed: tuple[str, ...]) -> None:
  """Checks a setting that is one of a few words.

  Args:
    setting: Its name in config.loss.
    given: Its value.
    allowed: The words.

  Raises:
    UserError: The value is none of them.
  """
  if given not in allowed:
    raise errors.unknown(setting, given, allowed, f"config.loss.{setting}")
