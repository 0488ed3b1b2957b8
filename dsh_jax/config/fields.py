"""From a config file and a command line to a checked configuration."""

import numbers
from collections.abc import Iterable, Mapping
from typing import Any

import ml_collections
import numpy as np

from dsh_jax import MAX_BITS, data, errors, losses, models
from dsh_jax.models import vectors
from dsh_jax.retrieval import evaluation

AUTO = "auto"  # In the place of a method: each is tried, one is kept.
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
  """Applies a method's preset and a short string to a data set's config.

  Args:
    config: All fields, with the values of the data set and its protocol.
    methods: The presets: name -> nested overrides, and "source".
    arg: Comma-separated `name=value`, such as "method=dsrh,bits=32"; the
      names are method, bits, seed, backbone, protocol and epochs.

  Returns:
    The configuration; other fields are changed by `--config.FIELD=VALUE`.

  Raises:
    UserError: A name or value of `arg` does not exist or has another type.
  """
  given = {}
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
    given[name] = value
  method = given.pop("method", config.method)
  if method not in methods and method != AUTO:
    known = (*methods, AUTO)
    raise errors.unknown("method", method, known, "--config=FILE:method=")
  config.method = method
  with config.unlocked():
    preset = {k: v for k, v in methods.get(method, {}).items() if k != "source"}
    config.update(ml_collections.ConfigDict(preset))
    # All settings of the loss, so that the command line can change each.
    filled = losses.default_settings(config.loss.name)
    config.loss = ml_collections.ConfigDict(filled | config.loss.to_dict())
  for name, value in given.items():
    set_field(config, _SHORT[name], value)
  return config


def set_field(config: ml_collections.ConfigDict, path: str, text: str) -> None:
  """Sets one dotted field from text, keeping the field's type.

  Args:
    config: Changed in place.
    path: Such as "train.num_epochs", of a field that is text or a number.
    text: Its new value.

  Raises:
    UserError: The text is not of the field's type.
  """
  section, _, name = path.rpartition(".")
  owner = get(config, section) if section else config
  kind = type(owner[name])
  try:
    owner[name] = kind(text)
  except ValueError:
    raise errors.UserError(
      f"config.{path} is {text!r}; it must be of type {kind.__name__}."
    ) from None


def get(config: ml_collections.ConfigDict, path: str) -> Any:
  """Returns the field at a dotted path, such as "train.num_epochs"."""
  for name in path.split("."):
    config = config[name]
  return config


def flatten(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
  """Returns {dotted path: value} of the leaves, tuples as lists (as JSON).

  Args:
    config: A configuration, or a section of one.
    prefix: Prepended to every path.
  """
  flat = {}
  for name, value in config.items():
    if isinstance(value, (Mapping, ml_collections.ConfigDict)):
      flat |= flatten(value, f"{prefix}{name}.")
    else:
      flat[prefix + name] = _as_json(value)
  return flat


def unflatten(flat: Mapping[str, Any]) -> ml_collections.ConfigDict:
  """Returns the configuration that `flatten` was given, lists as tuples."""
  nested: dict[str, Any] = {}
  for path, value in flat.items():
    *sections, name = path.split(".")
    owner = nested
    for section in sections:
      owner = owner.setdefault(section, {})
    owner[name] = _as_tuples(value)
  return ml_collections.ConfigDict(nested)


def _as_tuples(value: Any) -> Any:
  if isinstance(value, list):
    return tuple(_as_tuples(item) for item in value)
  return value


def _as_json(value: Any) -> Any:
  if isinstance(value, (tuple, list)):
    return [_as_json(item) for item in value]
  return value


def validate(config: ml_collections.ConfigDict, num_devices: int) -> None:
  """Checks fields of a fixed choice or range, and what they ask of each other.

  Names that depend on the data set, the method or the backbone (protocol,
  labels, settings of the loss, feature_layers) are checked where they are used.

  Args:
    config: The configuration.
    num_devices: P, over all hosts, at least 1.

  Raises:
    UserError: The first field that is wrong, with what is allowed.
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
  shares = config.optimizer.drop_at
  if not all(isinstance(x, numbers.Real) and 0 < x < 1 for x in shares):
    raise errors.UserError(
      f"config.optimizer.drop_at is {shares}; it must be"
      " shares of the training, between 0 and 1."
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


def check_overrides(
  config: ml_collections.ConfigDict, paths: Iterable[str]
) -> None:
  """Refuses fields of the command line that would change nothing.

  Args:
    config: The configuration with the overrides applied.
    paths: Dotted paths of the fields that were overridden.

  Raises:
    UserError: The first such field, with what to give instead.
  """
  optimizer, pretrained = config.optimizer, config.model.pretrained
  reasons = {
    "method": "it only records which preset was applied. Give"
    f" --config=FILE:method={config.method}",
    "loss.name": "it would leave the settings of another method. Give"
    f" --config=FILE:method={config.loss.name}",
    "optimizer.momentum": optimizer.name != "sgd"
    and "only sgd uses it. Add --config.optimizer.name=sgd",
    "optimizer.halve_every_steps": optimizer.schedule != "halve"
    and "only one schedule uses it. Add --config.optimizer.schedule=halve",
    "optimizer.drop_at": optimizer.schedule != "drop"
    and "only one schedule uses it. Add --config.optimizer.schedule=drop",
  }
  for field in ("mean", "std"):
    reasons[f"data.{field}"] = pretrained and (
      f"the weights of config.model.pretrained={pretrained!r} set it"
    )
  reasons["optimizer.multipliers"] = not trains_pretrained(config) and (
    any(is_of_backbone(path) for path, _ in optimizer.multipliers)
    and "no pretrained backbone is trained, which alone may learn at another"
    " rate than the head"
  )
  frozen = config.model.frozen
  vectors = frozen or config.model.backbone == models.VECTORS
  for field in ("model.normalization", "model.hidden_layers"):
    reasons[field] = not vectors and (
      "only features use it. Add --config.model.frozen=True"
    )
  for field in ("data.flip", "data.crop_padding", "model.remat"):
    reasons[field] = frozen and "no image goes through a frozen backbone twice"
  for field in ("choice.methods", "choice.num_seeds"):
    reasons[field] = config.method != AUTO and (
      f"only method=auto uses it. Give --config=FILE:method={AUTO}"
    )
  dataset = data.DATASETS.get(config.data.name)
  for field in dataset.unused_fields if dataset else ():
    reasons[f"data.{field}"] = (
      f"the data set {config.data.name!r} does not use it"
    )
  for path in paths:
    if reason := reasons.get(path):
      raise errors.UserError(f"--config.{path} is refused: {reason}.")


def _check_profile(steps):
  whole = all(isinstance(step, numbers.Integral) for step in steps)
  if steps and not (whole and len(steps) == 2 and 1 <= steps[0] <= steps[1]):
    raise errors.UserError(
      f"config.profile is {steps}; it must be (), or the first and the last"
      " step of the trace, two whole numbers from 1 that do not fall."
    )


def _check_colours(field, values, above):
  found = np.asarray(values, np.float64)
  if found.shape != (3,) or not all((found > above) & np.isfinite(found)):
    low = f" above {above}" if np.isfinite(above) else ""
    raise errors.UserError(
      f"{field} is {values}; it must be three numbers{low}, for red, green and"
      " blue."
    )


def _check_vectors(config):
  """Checks that data set and backbone both take images, or both features."""
  has_vectors = data.DATASETS[config.data.name].load is not None
  if has_vectors != (config.model.backbone == models.VECTORS):
    allowed = f"{models.VECTORS!r}" if has_vectors else "one of images"
    raise errors.UserError(
      f"config.model.backbone is {config.model.backbone!r}; of the data set"
      f" {config.data.name!r} it must be {allowed}."
    )
  for field in ("frozen", "pretrained"):
    if has_vectors and config.model[field]:
      raise errors.UserError(
        f"config.model.{field} is {config.model[field]!r}; it must be"
        f" {type(config.model[field])()!r}, as features have no backbone of"
        " images."
      )
  for width in config.model.hidden_layers:
    if not isinstance(width, int) or not 1 <= width <= 2**16:
      raise errors.UserError(
        f"config.model.hidden_layers is {config.model.hidden_layers}; it must"
        f" be whole numbers from 1 to {2**16}."
      )
