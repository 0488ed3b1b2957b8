"""All methods on features of your own, in one process.

python -m benchmarks.tables --config=configs/tables/features.py --workdir=DIR \\
  --override=data.features=features.npz

192 heads. On 10,000 items of 512 features, a head takes about a second of one
CPU core with a pairwise loss or a classifier, up to ten with a triplet or
ranking loss.
"""

from configs.tables import default, digits


def get_config():
  """Return the table."""
  config = default.get_config()
  config.title = "Features"
  config.config = "configs/features.py"
  config.in_process = True
  # One budget and one optimizer for all methods.
  config.overrides = (
    "train.num_epochs=20",
    "train.batch_size=128",
    "eval.select=last",
  )
  config.cells = (
    dict(methods=digits.METHODS, bits=(48,), seeds=tuple(range(8))),
  )
  config.references.methods = ("chance", "lsh", "pca_sign", "itq", "cosine")
  # Of 10,000 items.
  config.sizes = dict(
    train=8100, validation=900, query=1000, database=9000, num_classes=20
  )
  config.metrics = ("ndcg@100", "acg@100", "map@all", "wmap@5000")
  return config
