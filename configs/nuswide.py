"""NUS-WIDE: 195,834 photographs with the 21 most frequent labels (or 81).

./run.sh --config=configs/nuswide.py:method=idhn,protocol=hyp2 \\
  --config.data.manual_dir=ARCHIVES

ARCHIVES holds the folders Flickr, ImageList, ConceptsList and Groundtruth.
Protocols: hyp2, deephash-pytorch (both 21 labels), hashnet (81). Chance: mAP of
a random ranking is .40 to .44 with 21 labels, .28 with 81.
"""

from configs import methods, photos
from dsh_jax.config import fields


def get_config(arg: str = ""):
  """Return the config; `arg` is like "method=dsrh,bits=32"."""
  # num_images: number of images in the lists.
  config = photos.get_config("nuswide", num_images=269648)
  return fields.build(config, methods.METHODS, arg)
