"""IDHN's settings on the digit scenes, one or two at a time, beside DHN.

python -m benchmarks.tables.study --config=configs/studies/idhn.py --workdir=DIR

19 runs of about a minute on one CPU core each; ten minutes with --jobs=2.
"""

from configs.tables import default


def get_config():
  """Returns the study."""
  config = default.get_config()
  config.title = "IDHN's settings on digit scenes"
  config.config = "configs/digits.py"
  config.overrides = (
    "train.num_epochs=20",
    "train.validate_every_epochs=5",
    "tensorboard=False",
    "train.batch_size=128",
    "optimizer.name=adamw",
    "optimizer.schedule=one_cycle",
    "optimizer.weight_decay=0.0001",
    "optimizer.learning_rate=0.01",
    "eval.select=validation",
    "eval.select_metric=ndcg@100",
  )
  # The default settings, and the method to compare with.
  config.cells = (dict(methods=("idhn", "dhn"), bits=(48,), seeds=(0,)),)
  config.metrics = ("ndcg@100",)
  config.unlock()
  # The method whose settings are changed, at bits and seed of the first cell.
  config.method = "idhn"
  # One field at a time. The logit is scale <h,h'>/K: 24 at 48 bits is the
  # 0.5 <h,h'> of DHN.
  config.sweeps = (
    dict(field="loss.quantization_weight", values=(0.0, 0.01, 1.0)),
    dict(field="train.num_epochs", values=(10, 40)),
  )
  # Two fields at a time: all pairs.
  config.plane = (
    dict(field="loss.logit_scale", values=(2.5, 5.0, 10.0, 24.0)),
    dict(field="loss.mse_weight", values=(0.0, 0.1, 1.0)),
  )
  config.lock()
  return config
