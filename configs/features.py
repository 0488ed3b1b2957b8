"""Features of any model instead of images: embeddings to short codes.

./run.sh --config=configs/features.py:method=idhn,bits=48 \\
  --config.data.features=features.npz

The file (.npz, .safetensors or .parquet) has `features` float [N,F], `labels`
and optionally `ids`, `split` and `group`; each can also be a separate file.
Without splits, a tenth are queries, the rest is training set and database.
"""

from configs import default, methods
from dsh_jax.config import fields


def get_config(arg: str = ""):
  """Return the config; `arg` is like "method=dsrh,bits=32"."""
  config = default.get_config()
  with config.unlocked():
    config.data.update(
      dict(
        name="features",
        protocol="",
        # A file of features, relative to the working directory.
        features="",
        # Labels as docs/data.md lists them; a text file has one line per item.
        # "" reads the file of features.
        labels_file="",
        # Names of the items; "" reads the file of features or numbers them.
        ids_file="",
        # "train", "validation", "query" or "database" of each item, or several
        # separated by ";"; "" reads the file of features or draws them.
        split_file="",
      )
    )
  config.tensorboard = False
  config.model.backbone = "features"
  config.model.pretrained = ""
  config.model.normalization = "standardise"
  # A step is shorter than its dispatch.
  config.train.steps_per_dispatch = 0
  config.train.log_every_steps = 64
  config.train.validate_every_epochs = 5
  config.optimizer.learning_rate = 3e-3
  config.optimizer.multipliers = ()
  config.eval.batch_size = 4096
  return fields.build(config, methods.METHODS, arg)
