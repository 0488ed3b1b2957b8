"""Build, read and validate a configuration."""

import numbers
from collections.abc import Mapping
from typing import Any

import ml_collections
import numpy as np

from dsh_jax import MAX_BITS, data, errors, losses, models
from dsh_jax.models import vectors
from dsh_jax.retrieval import evaluation

AUTO = "auto"  # As method: try each and keep the best.
_SHORT = {
  "method": "method",
  "bits": "bits",
  "seed": "seed",
  "backbone": "model.backbone",
  "protocol": "data.protocol",
  "epochs": "train.num_epochs",
}

_CHOICES = {
  "data.name": data.DATASETS,
  "model.backbone": (*models.BACKBONES, models.VECTORS),
  "model.normalization": vectors.NORMALIZATIONS,
  "loss.name": losses.LOSSES,
  "parallel": ("pmap", "jit"),
  "dtype": ("float32", "bfloat16"),
  "train.on_nonfinite": ("stop", "skip"),
  "optimizer.name": ("adamw", "adam", "sgd"),
  "optimizer.schedule": ("one_cycle", "cosine", "constant", "halve", "drop"),
  "eval.select": ("validation", "last", "test_best"),
  "eval.normalizer": ("retrieved", "relevant"),
}

_RANGES = {
  "seed": (0, 2**31 - 1),
  "bits": (1, MAX_BITS),
  "data.seed": (0, 2**31 - 1),
  "data.image_size": (8, 1024),
  "data.crop_size": (0, 1024),
  "data.crop_padding": (0, 512),
  "train.batch_size": (2, 2**20),
  "train.num_epochs": (1, 10**6),
  "train.log_every_steps": (1, 10**9),
  "train.checkpoint_every_steps": (0, 10**9),
  "train.validate_every_epochs": (1, 10**6),
  "train.prefetch": (1, 1000),
  "train.steps_per_dispatch": (0, 10**6),
  "train.accumulate": (1, 10**6),
  "optimizer.learning_rate": (1e-12, 1e6),
  "optimizer.halve_every_steps": (1, 10**9),
  "optimizer.weight_decay": (0, 1e6),
  "optimizer.momentum": (0, 1),
  "eval.batch_size": (1, 2**20),
  "choice.num_seeds": (1, 1000),
}


def build(
  config: ml_collections.ConfigDict,
  methods: Mapping[str, Mapping[str, Any]],
  arg: str,
) -> ml_collections.ConfigDict:
  """Apply a method's preset and the config argument to a config, in place.

  Args:
    config: All fields, with the values of the data set.
    methods: Preset -> nested overrides, and "source".
    arg: Comma-separated `name=value`, such as "method=dsrh,bits=32"; the names
      are method, bits, seed, backbone, protocol and epochs.

  Raises:
    UserError: `arg` has an unknown name, or a value of another type.
  """
  values = {}
  for item in filter(None, (part.strip() for part in arg.split(","))):
    name, equals, value = item.partition("=")
    if name in _SHORT and not equals:
      raise errors.UserError(
        f"The config argument {item!r} has no value. Write"
        f" --config=FILE:{name}=VALUE."
      )
    if name not in _SHORT:
      raise errors.unknown(
        "config argument", item, _SHORT, "--config=FILE:name=value,..."
      )
    values[name] = value
  method = values.pop("method", config.method)
  if method not in methods and method != AUTO:
    known = (*methods, AUTO)
    raise errors.unknown("method", method, known, "--config=FILE:method=")
  config.method = method
  with config.unlocked():
    preset = {k: v for k, v in methods.get(method, {}).items() if k != "source"}
    config.update(ml_collections.ConfigDict(preset))
    # All settings of the loss, so that the command line can change each.
    defaults = losses.default_settings(config.loss.name)
    config.loss = ml_collections.ConfigDict(defaults | config.loss.to_dict())
  for name, value in values.items():
    set_field(config, _SHORT[name], value)
  return config


def set_field(config: ml_collections.ConfigDict, path: str, text: str) -> None:
  """Set the field at a dotted path, in place, to a text of the field's type.

  Raises:
    UserError: The text is of another type.
  """
  section, _, name = path.rpartition(".")
  section = get(config, section) if section else config
  kind = type(section[name])
  try:
    section[name] = kind(text)
  except ValueError:
    raise errors.UserError(
      f"config.{path} is {text!r}; it must be of type {kind.__name__}."
    ) from None


def get(config: ml_collections.ConfigDict, path: str) -> Any:
  """Return the value at a dotted path, such as "train.num_epochs"."""
  for name in path.split("."):
    config = config[name]
  return config


def flatten(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
  """Return dotted path -> value, with tuples as lists (as in JSON)."""
  flat = {}
  for name, value in config.items():
    if isinstance(value, (Mapping, ml_collections.ConfigDict)):
      flat |= flatten(value, f"{prefix}{name}.")
    else:
      flat[prefix + name] = _as_lists(value)
  return flat


def unflatten(flat: Mapping[str, Any]) -> ml_collections.ConfigDict:
  """Invert `flatten`, with lists as tuples."""
  nested: dict[str, Any] = {}
  for path, value in flat.items():
    *sections, name = path.split(".")
    owner = nested
    for section in sections:
      owner = owner.setdefault(section, {})
    owner[name] = _as_tuples(value)
  return ml_collections.ConfigDict(nested)


def _as_tuples(value: Any) -> Any:
  return tuple(map(_as_tuples, value)) if isinstance(value, list) else value


def _as_lists(value: Any) -> Any:
  if isinstance(value, (tuple, list)):
    return [_as_lists(item) for item in value]
  return value


def validate(config: ml_collections.ConfigDict, num_devices: int) -> None:
  """Check choices, ranges and dependencies of fields.

  Names that depend on the data set, the method or the backbone (protocol,
  labels, loss settings, feature_layers) are checked where they are used.

  Args:
    config: The configuration.
    num_devices: P, over all hosts.

  Raises:
    UserError: The first invalid field, with what is allowed.
  """
  for path, choices in _CHOICES.items():
    value = get(config, path)
    if value not in choices:
      raise errors.unknown(
        f"value of config.{path}", value, choices, f"config.{path}"
      )
  for path, (low, high) in _RANGES.items():
    value = get(config, path)
    if not isinstance(value, numbers.Real) or not low <= value <= high:
      raise errors.UserError(
        f"config.{path} is {value}; it must be from {low} to {high}."
      )
  for name in config.eval.metrics:
    evaluation.parse(name)
  evaluation.parse(config.eval.select_metric, "config.eval.select_metric")
  _check_colours("config.data.mean", config.data.mean, -np.inf)
  _check_colours("config.data.std", config.data.std, 0)
  drop_at = config.optimizer.drop_at
  if not all(isinstance(x, numbers.Real) and 0 < x < 1 for x in drop_at):
    raise errors.UserError(
      f"config.optimizer.drop_at is {drop_at}; it must be"
      " fractions of the training, between 0 and 1."
    )
  if config.data.crop_size > config.data.image_size:
    raise errors.UserError(
      f"config.data.crop_size is {config.data.crop_size}; it must be at most"
      f" config.data.image_size, {config.data.image_size}."
    )
  _check_vectors(config)
  _check_profile(config.profile)
  if not config.model.sync_batch_norm and config.parallel != "pmap":
    raise errors.UserError(
      f"config.parallel is {config.parallel!r}, under which BatchNorm sees the"
      " global batch; with config.model.sync_batch_norm=False it must be"
      " 'pmap'."
    )
  if config.data.num_validation == 0 and config.eval.select == "validation":
    raise errors.no_validation("config.data.num_validation is 0")
  parts = num_devices * config.train.accumulate
  if config.train.batch_size % parts:
    raise errors.UserError(
      f"config.train.batch_size is {config.train.batch_size}; it must be a"
      f" multiple of devices x config.train.accumulate, {num_devices} x"
      f" {config.train.accumulate}."
    )


def trains_pretrained(config: ml_collections.ConfigDict) -> bool:
  """Return whether a pretrained backbone is trained further."""
  return bool(config.model.pretrained) and not config.model.frozen


def is_of_backbone(path: str) -> bool:
  """Return whether parameters at a path are the backbone's."""
  return path.split("/")[0] == "backbone"


def _check_profile(steps):
  whole = all(isinstance(step, numbers.Integral) for step in steps)
  if steps and not (whole and len(steps) == 2 and 1 <= steps[0] <= steps[1]):
    raise errors.UserError(
      f"config.profile is {steps}; it must be (), or the steps (first, last)"
      " of the trace with 1 <= first <= last."
    )


def _check_colours(field, values, above):
  x = np.asarray(values, np.float64)
  if x.shape != (3,) or not all((x > above) & np.isfinite(x)):
    low = f" above {above}" if np.isfinite(above) else ""
    raise errors.UserError(
      f"{field} is {values}; it must be three numbers{low}, for red, green and"
      " blue."
    )


def _check_vectors(config):
  """Check that data set and backbone agree on images or features."""
  has_vectors = data.DATASETS[config.data.name].load is not None
  if has_vectors != (config.model.backbone == models.VECTORS):
    allowed = repr(models.VECTORS) if has_vectors else "a backbone of images"
    raise errors.UserError(
      f"config.model.backbone is {config.model.backbone!r}; for the data set"
      f" {config.data.name!r} it must be {allowed}."
    )
  for field in ("frozen", "pretrained"):
    if has_vectors and config.model[field]:
      raise errors.UserError(
        f"config.model.{field} is {config.model[field]!r}; it must be"
        f" {type(config.model[field])()!r}, as features need no backbone of"
        " images."
      )
  for width in config.model.hidden_layers:
    if not isinstance(width, int) or not 1 <= width <= 2**16:
      raise errors.UserError(
        f"config.model.hidden_layers is {config.model.hidden_layers}; it must"
        f" be whole numbers from 1 to {2**16}."
      )
