"""MIRFLICKR-25K with 38 labels, protocol of DeepHash-pytorch: map@all, AlexNet.

python -m benchmarks.tables \\
  --config=configs/tables/mirflickr25k_deephash_pytorch.py --workdir=DIR \\
  --override=data.manual_dir=ARCHIVES --override=model.pretrained=alexnet.pth

The published numbers are for the best epoch on the test queries; to compare
with them, add --override=eval.select=test_best.
"""

from configs.tables import default, downloads


def get_config():
  """Return the table."""
  config = default.get_config()
  config.title = "MIRFLICKR-25K, protocol of DeepHash-pytorch"
  config.config = "configs/mirflickr25k.py"
  config.arguments = "protocol=deephash-pytorch,backbone=alexnet"
  config.cells = (
    dict(
      methods=(
        "idhn",
        "idhn_deephash_pytorch",
        "dsrh",
        "dhn",
        "dpsh",
        "dsh",
        "dtsh",
      ),
      bits=(48,),
      seeds=(0, 1, 2),
    ),
  )
  config.references.methods = ("chance", "lsh", "itq", "cosine")
  config.metrics = ("map@all", "ndcg@100", "acg@100", "wmap@5000")
  config.published = dict(
    dataset="mirflickr25k-38", protocol="deephash-pytorch", backbone="alexnet"
  )
  config.downloads = (downloads.MIRFLICKR25K, downloads.ALEXNET)
  config.notes = (
    "The published numbers are of the best epoch on the test queries; measured"
    " rows are only where a dagger says so.",
  )
  config.sizes = dict(
    train=3500, validation=500, query=1000, database=20000, num_classes=38
  )
  return config
