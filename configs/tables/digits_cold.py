"""All methods on the embedded digit scenes, from random weights.

python -m benchmarks.tables --config=configs/tables/digits_cold.py --workdir=DIR

It shows how methods start to learn, not which codes are best: see
configs/tables/digits.py for that.
"""

from configs.tables import default, digits

# Methods that did better with a learning rate of 0.003 than with 0.01, the only
# rates that version 0.1.0 tried.
SLOW = (
  "hashnet",
  "isdh",
  "dhn",
  "dsrh",
  "talr_ap",
  "idhn_deephash_pytorch",
  "nin_triplet",
  "talr_ndcg",
  "dtsh",
  "dsh",
)


def get_config():
  """Return the table."""
  config = default.get_config()
  config.title = "Digit scenes, cold start"
  config.config = "configs/digits.py"
  config.arguments = "start=cold"
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
  config.cells = (dict(methods=digits.METHODS, bits=(48,), seeds=(0, 1, 2)),)
  config.references.methods = digits.REFERENCES
  config.references.bits = (48,)
  config.metrics = digits.METRICS
  config.method_overrides = {
    method: (f"optimizer.learning_rate={3e-3 if method in SLOW else 1e-2}",)
    for method in digits.METHODS
  }
  config.sizes = digits.SIZES
  return config
