"""MIRFLICKR-25K with 38 labels, protocol of HyP2 Loss: map@1000, AlexNet.

python -m benchmarks.tables --config=configs/tables/mirflickr25k_hyp2.py \\
  --workdir=DIR --override=data.manual_dir=ARCHIVES \\
  --override=model.pretrained=alexnet.pth
"""

from configs.tables import default, downloads


def get_config():
  """Return the table."""
  config = default.get_config()
  config.title = "MIRFLICKR-25K, protocol of HyP2 Loss"
  config.config = "configs/mirflickr25k.py"
  config.arguments = "protocol=hyp2,backbone=alexnet"
  config.cells = (
    dict(
      methods=("idhn", "dsrh", "dhn", "hashnet", "csq", "orthohash", "hyp2"),
      bits=(48, 12, 24, 36),
      seeds=(0, 1, 2),
    ),
  )
  config.references.methods = ("chance", "lsh", "itq", "cosine")
  config.metrics = ("map@1000", "ndcg@100", "acg@100", "wmap@5000")
  config.published = dict(
    dataset="mirflickr25k-38", protocol="hyp2", backbone="alexnet"
  )
  config.downloads = (downloads.MIRFLICKR25K, downloads.ALEXNET)
  config.sizes = dict(
    train=3500, validation=500, query=1000, database=19581, num_classes=38
  )
  return config
