"""Other code lengths and BatchNorm on the head, for the digit scenes.

python -m benchmarks.tables --config=configs/tables/digits_more.py --workdir=DIR

Start, budget and learning rates are those of configs/tables/digits.py.
"""

from configs.tables import digits

# The subjects of this project, the pairwise likelihood of DHN and its weighted
# form of HashNet, and the best published methods with class codes and proxies.
LENGTHS_OF = ("idhn", "dsrh", "dhn", "hashnet", "csq", "hyp2")


def get_config():
  """Return the table."""
  config = digits.get_config()
  config.title = "Digit scenes, warm start: code lengths, BatchNorm"
  config.cells = (
    dict(methods=LENGTHS_OF, bits=(12, 24, 32, 64), seeds=(0, 1, 2, 3)),
    dict(methods=digits.METHODS, bits=(48,), seeds=(0, 1, 2)),
    dict(
      methods=digits.METHODS,
      bits=(48,),
      seeds=(0, 1, 2),
      variant="BatchNorm_on_the_head",
      overrides=("model.head_batch_norm=True",),
    ),
  )
  config.claims = tuple(
    (method, f"{method}/48/BatchNorm_on_the_head") for method in digits.METHODS
  )
  config.claims_by_labels = ()
  return config
