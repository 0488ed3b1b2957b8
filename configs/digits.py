"""The embedded job: scenes of handwritten digits, ready in seconds.

./run.sh --config=configs/digits.py:method=idhn,bits=48
"""

from configs import default, methods
from dsh_jax.config import fields


def get_config(arg: str = ""):
  """Returns the config; `arg` is like "method=dsrh,bits=32"."""
  return fields.build(default.get_config(), methods.METHODS, arg)
