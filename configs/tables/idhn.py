"""The IDHN paper's table: ACG, NDCG, MAP and weighted MAP at 12 to 48 bits.

python -m benchmarks.tables --config=configs/tables/idhn.py:mirflickr25k \\
  --workdir=DIR --override=data.manual_dir=ARCHIVES \\
  --override=model.pretrained=alexnet.pth

After the colon: mirflickr25k, nuswide, iaprtc12 or voc2012. The paper's numbers
are not in benchmarks/tables/published.csv; rows added there with the protocol
"idhn" are shown with the measured ones.
"""

from configs.tables import default, downloads

_DATASETS = {
  "mirflickr25k": (
    "configs/mirflickr25k.py",
    "protocol=idhn",
    "mirflickr25k-38",
    downloads.MIRFLICKR25K,
    (3500, 500, 2000, 22581, 38),
  ),
  "nuswide": (
    "configs/nuswide.py",
    "protocol=hyp2",
    "nuswide-21",
    downloads.NUSWIDE,
    (10000, 500, 2100, 193734, 21),
  ),
  "iaprtc12": (
    "configs/iaprtc12.py",
    "protocol=idhn",
    "iaprtc12",
    downloads.IAPRTC12,
    (3500, 500, 1000, 19000, 275),
  ),
  "voc2012": (
    "configs/voc.py",
    "protocol=deephash-pytorch",
    "voc2012",
    downloads.VOC,
    (3500, 500, 1000, 6540, 20),
  ),
}


def get_config(dataset: str = "mirflickr25k"):
  """Return the table of one data set."""
  if dataset not in _DATASETS:
    raise ValueError(
      f"Unknown data set {dataset!r}; allowed: {', '.join(_DATASETS)}."
      " Change what follows the colon of --config."
    )
  path, protocol, published, download, sizes = _DATASETS[dataset]
  config = default.get_config()
  config.title = f"IDHN's table on {dataset}"
  config.config = path
  config.arguments = f"{protocol},backbone=alexnet"
  config.cells = (
    dict(
      methods=("idhn", "dsrh", "dhn", "hashnet", "dqn_cosine"),
      bits=(48, 12, 24, 36),
      seeds=(0, 1, 2),
    ),
    # The authors' network and training.
    dict(
      methods=("idhn_release",),
      bits=(48, 12, 24, 36),
      seeds=(0, 1, 2),
      arguments=protocol,
      overrides=(f"model.pretrained={downloads.BVLC_FILE}",),
    ),
  )
  config.references.methods = ("chance", "lsh", "itq", "cosine")
  config.metrics = ("acg@100", "ndcg@100", "map@5000", "wmap@5000")
  config.published = dict(
    dataset=published, protocol="idhn", backbone="alexnet"
  )
  config.downloads = (download, downloads.ALEXNET, downloads.BVLC_ALEXNET)
  config.notes = (
    "The cut-offs 100 and 5000 are believed to be the paper's; its text could"
    " not be checked.",
  )
  names = ("train", "validation", "query", "database", "num_classes")
  config.sizes = dict(zip(names, sizes, strict=True))
  return config
