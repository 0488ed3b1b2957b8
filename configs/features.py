"""Features of any model, in place of images: embeddings to short codes.

./run.sh --config=configs/features.py:method=idhn,bits=48 \\
  --config.data.features=features.npz

The file (.npz, .safetensors or .parquet) has `features` float [N,F], `labels`
and, if there are any, `ids`, `split` and `group`; or give each as a file of its
own. Without splits, a tenth are queries, the rest is trained on and searched.
"""

from configs import default, methods
from dsh_jax.config import fields


def get_config(arg: str = ""):
  """Returns the config; `arg` is like "method=dsrh,bits=32"."""
  config = default.get_config()
  with config.unlocked():
    config.data.update(
      dict(
        name="features",
        protocol="",
        # A file of features, found from the working directory: with labels, or
        # beside a file of labels.
        features="",
        # Labels [N,L] of 0 and 1, numbers of classes [N], or names with ";"
        # between; a text file has a line an item. "" is in the file above.
        labels_file="",
        # Names of the items; "" is in the file above, or their numbers.
        ids_file="",
        # "train", "validation", "query" or "database" of each item, or several
        # with ";" between; "" is in the file above, or drawn.
        split_file="",
      )
    )
  config.tensorboard = False
  config.model.backbone = "features"
  config.model.pretrained = ""
  config.model.normalization = "standardise"
  # A step takes less than its dispatch.
  config.train.steps_per_dispatch = 0
  config.train.log_every_steps = 64
  config.train.validate_every_epochs = 5
  config.optimizer.learning_rate = 3e-3
  config.optimizer.multipliers = ()
  config.eval.batch_size = 4096
  return fields.build(config, methods.METHODS, arg)
