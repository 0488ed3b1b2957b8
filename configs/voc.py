"""PASCAL VOC 2012 (or 2007): 20 labels, prepared by TFDS.

./run.sh --config=configs/voc.py:method=idhn,protocol=hyp2
./run.sh --config=configs/voc.py:method=idhn --config.data.name=voc2007

Protocols: hyp2, and for 2012 deephash-pytorch. Most images have one label: mAP
of a random ranking is .19, and there is almost no graded similarity.
"""

from configs import methods, photos
from dsh_jax.config import fields


def get_config(arg: str = ""):
  """Return the config; `arg` is like "method=dsrh,bits=32"."""
  config = photos.get_config("voc2012")
  return fields.build(config, methods.METHODS, arg)
