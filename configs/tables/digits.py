"""All methods on the embedded digit scenes, from a warm start.

taskset -c 0 python -m benchmarks.tables --config=configs/tables/digits.py \\
  --workdir=DIR --shard=0/2 &
taskset -c 1 python -m benchmarks.tables --config=configs/tables/digits.py \\
  --workdir=DIR --shard=1/2

All start from weights that classify single digits, with the backbone at a tenth
of the head's learning rate. configs/tables/digits_cold.py has the same methods
from random weights, configs/tables/digits_more.py other code lengths and
BatchNorm on the head.
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


REFERENCES = (
  "chance",
  "random",
  "lsh",
  "pca_sign",
  "itq",
  "spectral",
  "cosine",
)
METRICS = (
  "ndcg@100",
  "ndcg@1000",
  "acg@100",
  "map@all",
  "wmap@5000",
  "precision@r<=2",
)
SIZES = dict(
  train=4000, validation=500, query=500, database=10000, num_classes=10
)


def get_config():
  """Return the table."""
  config = default.get_config()
  config.title = "Digit scenes, warm start"
  config.config = "configs/digits.py"
  config.arguments = "start=warm"
  # One budget and one optimizer for all methods.
  config.overrides = (
    "train.num_epochs=5",
    "train.validate_every_epochs=5",
    "tensorboard=False",
    "train.batch_size=128",
    "optimizer.name=adamw",
    "optimizer.schedule=one_cycle",
    "optimizer.weight_decay=0.0001",
    "eval.select=validation",
    "eval.select_metric=ndcg@100",
  )
  # Histograms over a batch need a large one: 256 in the authors' runs.
  large = ("train.batch_size=256",)
  config.method_overrides = dict(mihash=large, talr_ap=large, talr_ndcg=large)
  seeds = tuple(range(8))
  config.cells = (
    dict(methods=METHODS, bits=(48,), seeds=seeds),
    # The parts of DSRH.
    dict(methods=("dsrh_two_layers", "dsrh_sampled"), bits=(48,), seeds=seeds),
  )
  config.claims = (
    *(("idhn", other) for other in ("dhn", "hashnet", "dqn_cosine")),
    *(("idhn", other) for other in ("idhn_hard", "idhn_soft", "isdh")),
    *(("dsrh", other) for other in ("nin_triplet", "dsrh_two_layers")),
    ("dsrh", "dsrh_sampled"),
    ("idhn", "dsrh"),
    ("idhn", "classifier_code"),
  )
  config.claims_by_labels = (("idhn", "idhn_hard"), ("idhn", "dhn"))
  config.references.methods = REFERENCES
  config.references.bits = (48,)
  config.metrics = METRICS
  # A seed that no row uses.
  config.grid.seed = 100
  config.grid.learning_rates = (1e-2, 3e-2, 3e-3)
  config.grid.further_rates = (1e-4, 3e-4, 1e-3, 1e-1, 3e-1, 1.0, 3.0, 10.0)
  config.sizes = SIZES
  return config
