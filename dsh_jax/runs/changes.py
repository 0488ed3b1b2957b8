"""How two configurations of a run differ."""

from collections.abc import Mapping
from typing import Any

# Fields that do not change what a run computes.
WITHOUT_EFFECT = {
  "data.dir",
  "data.manual_dir",
  "profile",
  "tensorboard",
  "train.prefetch",
}
_CHOSEN = ("method", "bits", "seed", "data.name", "model.backbone")
_MOST_NAMED = 3


def describe(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
  """Return the first fields that differ, "" if none with an effect does.

  Args:
    before: Dotted field -> value.
    now: The same, to compare.
  """
  names = [
    name
    for name in (before.keys() | now.keys()) - WITHOUT_EFFECT
    if before.get(name) != now.get(name)
  ]
  # A person chooses these fields; many others follow from them.
  names.sort(key=lambda name: (name not in _CHOSEN, name))
  text = "; ".join(
    f"config.{name} was {before.get(name)} and is now {now.get(name)}"
    for name in names[:_MOST_NAMED]
  )
  if len(names) > _MOST_NAMED:
    text += f"; and {len(names) - _MOST_NAMED} more fields"
  return text
