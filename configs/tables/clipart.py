"""All methods on features of drawings: 5,338 pictures of Debian's openclipart.

apt-get install openclipart-png
python -m benchmarks.clipart --out=clipart.csv
python -m dsh_jax features --config=configs/listfile.py --out=clipart.npz \\
  --config.data.manual_dir=/usr/share/openclipart/png \\
  --config.data.csv=clipart.csv
python -m benchmarks.tables --config=configs/tables/clipart.py --workdir=DIR \\
  --override=data.features=clipart.npz
"""

from configs.tables import digits, features


def get_config():
  """Return the table."""
  config = features.get_config()
  config.title = "Features of drawings"
  config.method_overrides = digits.get_config().method_overrides
  config.references.methods = digits.REFERENCES
  # A seed that no row uses.
  config.grid.seed = 100
  config.grid.learning_rates = (1e-3, 3e-3, 1e-2)
  config.grid.further_rates = (1e-5, 3e-5, 1e-4, 3e-4, 3e-2, 1e-1, 3e-1, 1.0)
  config.claims = (
    *(("idhn", other) for other in ("dhn", "hashnet", "dqn_cosine")),
    *(("idhn", other) for other in ("idhn_hard", "idhn_soft", "isdh")),
    ("dsrh", "nin_triplet"),
    ("idhn", "dsrh"),
    ("idhn", "classifier_code"),
  )
  config.claims_by_labels = (("idhn", "idhn_hard"), ("idhn", "dhn"))
  return config
