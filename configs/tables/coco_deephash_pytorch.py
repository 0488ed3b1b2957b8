"""COCO, protocol of DeepHash-pytorch (as HashNet's): map@5000, AlexNet.

python -m benchmarks.tables \\
  --config=configs/tables/coco_deephash_pytorch.py --workdir=DIR \\
  --override=model.pretrained=alexnet.pth

The published numbers are for the best epoch on the test queries; to compare
with them, add --override=eval.select=test_best.
"""

from configs.tables import default, downloads


def get_config():
  """Return the table."""
  config = default.get_config()
  config.title = "COCO, protocol of DeepHash-pytorch"
  config.config = "configs/coco.py"
  config.arguments = "protocol=deephash-pytorch,backbone=alexnet"
  config.cells = (
    dict(
      methods=(
        "idhn",
        "dsrh",
        "dhn",
        "dpsh",
        "hashnet",
        "dsh",
        "dtsh",
        "greedyhash",
      ),
      bits=(48,),
      seeds=(0, 1, 2),
    ),
  )
  config.references.methods = ("chance", "lsh", "itq", "cosine")
  config.metrics = ("map@5000", "ndcg@100", "acg@100", "wmap@5000")
  config.published = dict(
    dataset="coco", protocol="deephash-pytorch", backbone="alexnet"
  )
  config.downloads = (downloads.COCO, downloads.ALEXNET)
  config.notes = (
    "The published numbers are of the best epoch on the test queries; measured"
    " rows are only where a dagger says so.",
  )
  config.sizes = dict(
    train=9500, validation=500, query=5000, database=117218, num_classes=80
  )
  return config
