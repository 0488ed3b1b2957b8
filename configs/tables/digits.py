"""All methods on the embedded digit scenes: the table of the README.

python -m benchmarks.tables --config=configs/tables/digits.py --workdir=DIR

108 runs of about a minute on one CPU core each; an hour with --jobs=2.
"""

from configs.tables import default

METHODS = (
  "idhn",
  "dsrh",
  "dhn",
  "hyp2",
  "dpsh",
  "hashnet",
  "dtsh",
  "dch",
  "csq",
  "orthohash",
  "greedyhash",
  "mihash",
  "talr_ap",
  "talr_ndcg",
  "dpn",
  "dsh",
  "dqn_cosine",
  "nin_triplet",
  "isdh",
  "idhn_deephash_pytorch",
  "idhn_hard",
  "idhn_soft",
  "classifier_code",
  "bce_sign",
)


def get_config():
  """Returns the table."""
  config = default.get_config()
  config.title = "Digit scenes"
  config.config = "configs/digits.py"
  # One budget and one optimizer for all methods.
  config.overrides = (
    "train.num_epochs=20",
    "train.validate_every_epochs=5",
    "tensorboard=False",
    "train.batch_size=128",
    "optimizer.name=adamw",
    "optimizer.schedule=one_cycle",
    "optimizer.weight_decay=0.0001",
    "eval.select=validation",
    "eval.select_metric=ndcg@100",
  )
  config.cells = (
    dict(methods=METHODS, bits=(48,), seeds=(0, 1, 2)),
    dict(
      methods=("idhn", "dsrh", "dhn", "hyp2"), bits=(12, 24, 36), seeds=(0,)
    ),
  )
  config.references.methods = (
    "chance",
    "random",
    "lsh",
    "pca_sign",
    "itq",
    "spectral",
    "cosine",
  )
  config.references.bits = (48,)
  config.metrics = (
    "ndcg@100",
    "ndcg@1000",
    "acg@100",
    "map@all",
    "wmap@5000",
    "precision@r<=2",
  )
  # The likeliest first: after half of the grid every method has a row.
  config.grid.learning_rates = (3e-3, 1e-2)
  config.sizes = dict(
    train=4000, validation=500, query=500, database=10000, num_classes=10
  )
  return config
