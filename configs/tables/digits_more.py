"""Other code lengths and BatchNorm on the head, for the digit scenes.

python -m benchmarks.tables --config=configs/tables/digits_more.py --workdir=DIR

Start, budget and batch sizes are those of configs/tables/digits.py.
"""

from configs.tables import digits

# The learning rates that digits.py chose, at 48 bits without BatchNorm.
RATES = {
  **dict.fromkeys(("dch", "dsh"), 0.01),
  **dict.fromkeys(
    ("dpsh", "dqn_cosine", "hashnet", "isdh", "mihash", "nin_triplet"), 0.03
  ),
  "talr_ndcg": 0.03,
  **dict.fromkeys(
    ("bce_sign", "dhn", "dpn", "dsrh", "dtsh", "greedyhash", "idhn"), 0.1
  ),
  **dict.fromkeys(("idhn_deephash_pytorch", "idhn_hard", "idhn_soft"), 0.1),
  "talr_ap": 0.1,
  **dict.fromkeys(("classifier_code", "csq", "hyp2"), 0.3),
}

# OrthoHash has BatchNorm on its head as published.
BATCH_NORM_OF = tuple(name for name in digits.METHODS if name != "orthohash")
# The subjects of this project, the pairwise likelihood of DHN and its weighted
# form of HashNet, and the best published methods with class codes and proxies.
LENGTHS_OF = ("idhn", "dsrh", "dhn", "hashnet", "csq", "hyp2")


def get_config():
  """Return the table."""
  config = digits.get_config()
  config.title = "Digit scenes, warm start: code lengths, BatchNorm"
  config.cells = (
    dict(
      methods=BATCH_NORM_OF,
      bits=(48,),
      seeds=(0, 1, 2),
      variant="BatchNorm_on_the_head",
      overrides=("model.head_batch_norm=True",),
    ),
    dict(methods=LENGTHS_OF, bits=(12, 24, 32, 64), seeds=(0, 1, 2)),
  )
  config.grid.learning_rates = config.grid.further_rates = ()
  for method, rate in RATES.items():
    config.method_overrides[method] = (
      *config.method_overrides.get(method, ()),
      f"optimizer.learning_rate={rate}",
    )
  config.claims = config.claims_by_labels = ()
  return config
