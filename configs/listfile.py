"""Your own pictures, from three list files or one CSV file.

./run.sh --config=configs/listfile.py:method=idhn \\
  --config.data.manual_dir=FOLDER --config.data.train=train.txt \\
  --config.data.query=query.txt --config.data.database=database.txt
./run.sh --config=configs/listfile.py:method=idhn \\
  --config.data.manual_dir=FOLDER --config.data.csv=pictures.csv

A list has lines `path 0 1 0 ...`; a CSV has lines `path,label;label;...` and is
split by itself: a tenth are queries, the rest is trained on and searched. Paths
are relative to FOLDER.
"""

from configs import methods, photos
from dsh_jax.config import fields


def get_config(arg: str = ""):
  """Returns the config; `arg` is like "method=dsrh,bits=32"."""
  config = photos.get_config(
    "listfile",
    # One list file per split, found from the working directory; without one
    # of validation, a tenth of the training images is set apart.
    train="",
    query="",
    database="",
    validation="",
    # Or one CSV file, found likewise.
    csv="",
    # A file with the name of a label a line; "" takes numbers, or for a CSV
    # the labels that occur.
    classes="",
  )
  return fields.build(config, methods.METHODS, arg)
