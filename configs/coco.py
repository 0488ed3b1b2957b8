"""COCO 2014: 122,218 photographs with a label, 80 labels, prepared by TFDS.

./run.sh --config=configs/coco.py:method=idhn

Protocols: hashnet, deephash-pytorch (the same). Chance: mAP of a random ranking
is .35. TFDS takes the archives (38 GB) from the network or from
config.data.manual_dir.
"""

from configs import methods, photos
from dsh_jax.config import fields


def get_config(arg: str = ""):
  """Return the config; `arg` is like "method=dsrh,bits=32"."""
  config = photos.get_config("coco")
  return fields.build(config, methods.METHODS, arg)
