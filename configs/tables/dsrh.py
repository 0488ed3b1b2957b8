"""The DSRH paper's table: NDCG, ACG and weighted MAP at 16 to 64 bits.

python -m benchmarks.tables --config=configs/tables/dsrh.py:mirflickr25k \\
  --workdir=DIR --override=data.manual_dir=ARCHIVES \\
  --override=model.pretrained=alexnet.pth

After the colon: mirflickr25k or nuswide. The paper's numbers are not in
benchmarks/tables/published.csv; rows added there with the protocol "dsrh" are
shown with the measured ones.
"""

from configs.tables import default, downloads

_DATASETS = {
  "mirflickr25k": (
    "configs/mirflickr25k.py",
    "protocol=dsrh",
    "mirflickr25k-38",
    downloads.MIRFLICKR25K,
    (22081, 500, 2000, 22581, 38),
  ),
  "nuswide": (
    "configs/nuswide.py",
    "protocol=hyp2",
    "nuswide-21",
    downloads.NUSWIDE,
    (10000, 500, 2100, 193734, 21),
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
  config.title = f"DSRH's table on {dataset}"
  config.config = path
  config.arguments = f"{protocol},backbone=alexnet"
  config.cells = (
    dict(
      methods=("dsrh", "idhn", "dhn", "nin_triplet", "dtsh"),
      bits=(64, 16, 32, 48),
      seeds=(0, 1, 2),
    ),
    # The layers that the paper's hash head reads.
    dict(
      methods=("dsrh_two_layers",),
      bits=(64, 16, 32, 48),
      seeds=(0, 1, 2),
      overrides=("model.feature_layers=('fc6', 'fc7')",),
    ),
    # The authors' network and training; torchvision's AlexNet weights fit it.
    dict(
      methods=("dsrh_release",),
      bits=(64, 16, 32, 48),
      seeds=(0, 1, 2),
      arguments=protocol,
    ),
  )
  config.references.methods = ("chance", "lsh", "itq", "spectral", "cosine")
  config.metrics = ("ndcg@100", "acg@100", "wmap@5000")
  config.published = dict(
    dataset=published, protocol="dsrh", backbone="alexnet"
  )
  config.downloads = (download, downloads.ALEXNET)
  names = ("train", "validation", "query", "database", "num_classes")
  config.sizes = dict(zip(names, sizes, strict=True))
  return config
