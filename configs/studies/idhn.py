"""IDHN's settings on the digit scenes, one or two at a time, and DHN.

python -m benchmarks.tables.study --config=configs/studies/idhn.py --workdir=DIR

Five seeds of each setting, from the warm start.
"""

from configs.tables import default


def get_config():
  """Return the study."""
  config = default.get_config()
  config.title = "IDHN's settings on digit scenes, warm start"
  config.config = "configs/digits.py"
  config.arguments = "start=warm"
  config.overrides = (
    "train.num_epochs=5",
    "train.validate_every_epochs=5",
    "tensorboard=False",
    "train.batch_size=128",
    "optimizer.name=adamw",
    "optimizer.schedule=one_cycle",
    "optimizer.weight_decay=0.0001",
    "optimizer.learning_rate=0.03",
    "eval.select=validation",
    "eval.select_metric=ndcg@100",
  )
  # The default settings, and the method to compare with.
  config.cells = (
    dict(methods=("idhn", "dhn"), bits=(48,), seeds=(0, 1, 2, 3, 4)),
  )
  config.metrics = ("ndcg@100",)
  config.unlock()
  # The method whose settings are changed, at the bits of the first cell.
  config.method = "idhn"
  # One field at a time. The logit is scale <h,h'>/K: 24 at 48 bits is the
  # 0.5 <h,h'> of DHN.
  config.sweeps = (
    dict(field="loss.quantization_weight", values=(0.0, 0.01, 1.0)),
    dict(field="train.batch_size", values=(64, 256)),
  )
  # Two fields at a time: all pairs.
  config.plane = (
    dict(field="loss.logit_scale", values=(2.5, 5.0, 10.0, 24.0)),
    dict(field="loss.mse_weight", values=(0.0, 0.1, 1.0)),
  )
  config.lock()
  return config
