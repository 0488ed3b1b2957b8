"""MIRFLICKR-25K: 25,000 photographs, 38 labels (or 24).

./run.sh --config=configs/mirflickr25k.py:method=idhn,protocol=hyp2 \\
  --config.data.manual_dir=ARCHIVES

ARCHIVES holds mirflickr25k.zip and mirflickr25k_annotations_v080.zip, or what
they unpack to. Protocols: hyp2, deephash-pytorch, dsrh, idhn. Chance: mAP of a
random ranking is .54 to .57 with 38 labels.
"""

from configs import methods, photos
from dsh_jax.config import fields


def get_config(arg: str = ""):
  """Return the config; `arg` is like "method=dsrh,bits=32"."""
  # num_images: images are numbered from 1 to this.
  config = photos.get_config("mirflickr25k", num_images=25000)
  return fields.build(config, methods.METHODS, arg)
