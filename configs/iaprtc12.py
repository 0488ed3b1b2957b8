"""IAPR TC-12 with the region labels of SAIAPR: 20,000 photographs.

./run.sh --config=configs/iaprtc12.py:method=idhn \\
  --config.data.manual_dir=ARCHIVES --config.data.labels=255

ARCHIVES holds the folders images and saiapr_tc-12. Protocols: idhn, dsrh.
"""

from configs import methods, photos
from dsh_jax.config import fields


def get_config(arg: str = ""):
  """Return the config; `arg` is like "method=dsrh,bits=32"."""
  # num_images: at most this many images have labels.
  config = photos.get_config("iaprtc12", num_images=20000)
  return fields.build(config, methods.METHODS, arg)
