"""NUS-WIDE, 21 most frequent labels, protocol of HyP2 Loss: map@5000, AlexNet.

python -m benchmarks.tables --config=configs/tables/nuswide21_hyp2.py \\
  --workdir=DIR --override=data.manual_dir=ARCHIVES \\
  --override=model.pretrained=alexnet.pth
"""

from configs.tables import default, downloads


def get_config():
  """Return the table."""
  config = default.get_config()
  config.title = "NUS-WIDE with 21 labels, protocol of HyP2 Loss"
  config.config = "configs/nuswide.py"
  config.arguments = "protocol=hyp2,backbone=alexnet"
  config.cells = (
    dict(
      methods=("idhn", "dsrh", "dhn", "hashnet", "csq", "orthohash", "hyp2"),
      bits=(48, 12, 24, 36),
      seeds=(0, 1, 2),
    ),
  )
  config.references.methods = ("chance", "lsh", "itq", "cosine")
  config.metrics = ("map@5000", "ndcg@100", "acg@100", "wmap@5000")
  config.published = dict(
    dataset="nuswide-21", protocol="hyp2", backbone="alexnet"
  )
  config.downloads = (downloads.NUSWIDE, downloads.ALEXNET)
  config.sizes = dict(
    train=10000, validation=500, query=2100, database=193734, num_classes=21
  )
  return config
