"""The embedded job: scenes of handwritten digits, ready in seconds.

./run.sh --config=configs/digits.py:method=idhn,bits=48

start=warm, the default for the backbone "tiny", starts from weights that
classify single digits, as papers start from ImageNet's. start=cold starts from
random weights, with settings that suit them.
"""

import ml_collections

from configs import default, methods
from dsh_jax import errors
from dsh_jax.config import fields

_STARTS = {
  "warm": {},
  "cold": {
    "model": {"pretrained": ""},
    "train": {"num_epochs": 20, "validate_every_epochs": 4},
    "optimizer": {"learning_rate": 1e-2, "multipliers": ()},
  },
}


def get_config(arg: str = ""):
  """Return the config; `arg` is like "method=dsrh,bits=32,start=cold"."""
  words = [word.strip() for word in arg.split(",")]
  values = dict(word.partition("=")[::2] for word in words)
  preset = methods.METHODS.get(values.get("method"), {})
  backbone = preset.get("model", {}).get("backbone", "tiny")
  is_tiny = values.get("backbone", backbone) == "tiny"
  start = values.get("start", "warm" if is_tiny else "cold")
  if start not in _STARTS:
    raise errors.unknown("start", start, _STARTS, "--config=FILE:start=")
  config = default.get_config()
  config.update(ml_collections.ConfigDict(_STARTS[start]))
  others = [word for word in words if word.partition("=")[0] != "start"]
  return fields.build(config, methods.METHODS, ",".join(others))
