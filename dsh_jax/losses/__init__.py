"""Losses by name.

To add one: a file with its factory (see `method`), a line in `LOSSES` (and in
`SEEDED` if it draws from its seed), a preset in configs/methods.py, and a test
against a plain loop.
"""

import dataclasses
import inspect
import math
from collections.abc import Callable
from typing import Any

from dsh_jax import MAX_BITS, errors
from dsh_jax.losses import (
  activations,
  bce_sign,
  classifier_code,
  csq,
  dch,
  dhn,
  dpn,
  dpsh,
  dqn_cosine,
  dsh,
  dsrh,
  dtsh,
  greedyhash,
  hashnet,
  hyp2,
  idhn,
  idhn_deephash_pytorch,
  isdh,
  method,
  mihash,
  nin_triplet,
  orthohash,
  talr_ap,
  talr_ndcg,
)
from dsh_jax.losses.method import Method as Method

LOSSES: dict[str, Callable[..., method.Method]] = {
  "idhn": idhn.idhn,
  "isdh": isdh.isdh,
  "idhn_deephash_pytorch": idhn_deephash_pytorch.idhn_deephash_pytorch,
  "dsrh": dsrh.dsrh,
  "dhn": dhn.dhn,
  "dpsh": dpsh.dpsh,
  "hashnet": hashnet.hashnet,
  "dsh": dsh.dsh,
  "dqn_cosine": dqn_cosine.dqn_cosine,
  "dtsh": dtsh.dtsh,
  "nin_triplet": nin_triplet.nin_triplet,
  "dch": dch.dch,
  "mihash": mihash.mihash,
  "talr_ap": talr_ap.talr_ap,
  "talr_ndcg": talr_ndcg.talr_ndcg,
  "csq": csq.csq,
  "dpn": dpn.dpn,
  "orthohash": orthohash.orthohash,
  "greedyhash": greedyhash.greedyhash,
  "hyp2": hyp2.hyp2,
  "classifier_code": classifier_code.classifier_code,
  "bce_sign": bce_sign.bce_sign,
}

# Losses that draw from their seed.
SEEDED = frozenset({"classifier_code", "csq", "dpn", "dsrh", "orthohash"})


def default_settings(name: str) -> dict[str, Any]:
  """Return setting -> default of a loss; raise UserError if unknown."""
  if name not in LOSSES:
    raise errors.unknown("loss", name, LOSSES, "config.loss.name")
  parameters = inspect.signature(LOSSES[name]).parameters.values()
  return {p.name: p.default for p in parameters if p.kind == p.KEYWORD_ONLY}


def make_loss(
  name: str,
  *,
  num_bits: int,
  num_classes: int,
  seed: int = 0,
  num_steps: int | None = None,
  **settings: Any,
) -> method.Method:
  """Return a loss by name.

  Args:
    name: A key of `LOSSES`.
    num_bits: K, 1 to 256.
    num_classes: L, at least 1.
    seed: Seed of everything that the loss draws, >= 0.
    num_steps: Training steps, at least 1, for activations that change during
      training (HashNet's); None counts steps as the authors' code does.
    **settings: Overrides of `default_settings(name)`.

  Raises:
    UserError: An unknown name or setting, or a value that is not allowed.
  """
  defaults = default_settings(name)
  _check_count("number of bits", num_bits, MAX_BITS, "config.bits")
  _check_count("number of classes", num_classes, None, "config.data")
  for setting, value in settings.items():
    if setting not in defaults:
      raise errors.unknown(
        f"setting of {name}", setting, defaults, "config.loss"
      )
    settings[setting] = _checked(name, setting, value, defaults[setting])
  settings = defaults | settings
  loss = LOSSES[name](num_bits, num_classes, seed, **settings)
  if num_steps is not None:
    _check_count("number of steps", num_steps, None, "config.train.num_epochs")
    if loss.activation_steps is not None:
      activation = activations.rescale_steps(
        loss.activation, loss.activation_steps / num_steps
      )
      loss = dataclasses.replace(loss, activation=activation)
  return dataclasses.replace(loss, name=name, settings=settings)


def _check_count(
  what: str, value: object, maximum: int | None, field: str
) -> None:
  """Raise UserError unless the value is an integer from 1 to the maximum."""
  is_int = isinstance(value, int) and not isinstance(value, bool)
  if not is_int or value < 1 or (maximum is not None and value > maximum):
    upper = "" if maximum is None else f" to {maximum}"
    raise errors.UserError(
      f"The {what} is {value!r}; allowed: an integer from 1{upper}."
      f" Change {field}."
    )


def _checked(name: str, setting: str, value: Any, default: Any) -> Any:
  """Return a setting in the type of its default, or raise UserError."""
  is_float = isinstance(default, float)
  is_number = isinstance(value, int | float) and not isinstance(value, bool)
  if is_float and is_number and math.isfinite(value):
    return float(value)
  if not is_float and type(value) is type(default):
    return value
  kind = "finite number" if is_float else type(default).__name__
  raise errors.UserError(
    f"Setting {setting!r} of {name} is {value!r}; allowed: {kind} (default"
    f" {default!r}). Change config.loss.{setting}."
  )


__all__ = ["LOSSES", "Method", "default_settings", "make_loss"]
