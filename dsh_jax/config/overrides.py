"""Refuse command-line overrides of config fields that have no effect."""

from collections.abc import Iterable

import ml_collections

from dsh_jax import data, errors, models
from dsh_jax.config import fields


def check(config: ml_collections.ConfigDict, paths: Iterable[str]) -> None:
  """Refuse overrides that have no effect.

  Args:
    config: The configuration with the overrides applied.
    paths: Dotted paths of the overridden fields.

  Raises:
    UserError: The first such field, with what to set instead.
  """
  optimizer, model = config.optimizer, config.model
  reasons = {
    "method": "it only records which preset was applied. Give"
    f" --config=FILE:method={config.method}",
    "loss.name": "the settings would be those of another method. Give"
    f" --config=FILE:method={config.loss.name}",
  }
  if optimizer.name != "sgd":
    reasons["optimizer.momentum"] = (
      "only sgd uses it. Add --config.optimizer.name=sgd"
    )
  for schedule, field in (("halve", "halve_every_steps"), ("drop", "drop_at")):
    if optimizer.schedule != schedule:
      reasons[f"optimizer.{field}"] = (
        f"only one schedule uses it. Add --config.optimizer.schedule={schedule}"
      )
  if not fields.trains_pretrained(config) and any(
    fields.is_of_backbone(path) for path, _ in optimizer.multipliers
  ):
    reasons["optimizer.multipliers"] = (
      "only a pretrained backbone that is trained has its own learning rate"
    )
  if model.pretrained:
    reasons["data.mean"] = reasons["data.std"] = (
      f"the weights of config.model.pretrained={model.pretrained!r} set it"
    )
  if model.frozen:
    for field in ("data.flip", "data.crop_padding", "model.remat"):
      reasons[field] = "a frozen backbone is applied only once to each image"
  elif model.backbone != models.VECTORS:
    for field in ("model.normalization", "model.hidden_layers"):
      reasons[field] = "only features use it. Add --config.model.frozen=True"
  if config.method != fields.AUTO:
    for field in ("choice.methods", "choice.num_seeds"):
      reasons[field] = (
        f"only method=auto uses it. Give --config=FILE:method={fields.AUTO}"
      )
  if config.data.name in data.DATASETS:
    for field in data.DATASETS[config.data.name].unused_fields:
      reasons[f"data.{field}"] = (
        f"the data set {config.data.name!r} does not use it"
      )
  for path in paths:
    if path in reasons:
      raise errors.UserError(f"--config.{path} is refused: {reasons[path]}.")
