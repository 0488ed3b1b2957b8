"""PASCAL VOC 2012, protocol of HyP2 Loss: map@5717.

python -m benchmarks.tables --config=configs/tables/voc2012_hyp2.py \\
  --workdir=DIR --override=model.pretrained=resnet50.pth

The published numbers are of an Inception-v3 at 448 pixels, which this project
lacks; they are listed below the table.
"""

from configs.tables import default, downloads


def get_config():
  """Return the table."""
  config = default.get_config()
  config.title = "PASCAL VOC 2012, protocol of HyP2 Loss"
  config.config = "configs/voc.py"
  config.arguments = "protocol=hyp2,backbone=resnet50"
  config.cells = (
    dict(
      methods=("idhn", "dsrh", "dhn", "dsh", "csq", "orthohash", "hyp2"),
      bits=(48, 16, 32, 64),
      seeds=(0, 1, 2),
    ),
  )
  config.references.methods = ("chance", "lsh", "itq", "cosine")
  config.metrics = ("map@5717", "ndcg@100", "acg@100", "wmap@5000")
  config.published = dict(
    dataset="voc2012", protocol="hyp2", backbone="resnet50"
  )
  config.downloads = (downloads.VOC, downloads.RESNET50)
  config.notes = (
    "The published numbers are of an Inception-v3 at 448 pixels; they do not"
    " compare line by line with this backbone.",
  )
  config.sizes = dict(
    train=5217, validation=500, query=5823, database=5717, num_classes=20
  )
  return config
