"""Every table of photographs through the command line, on fake archives.

Each is one cell at a tiny size: the archive is read, its splits are drawn, the
cell is trained and scored, and the table is written.
"""

import csv
import dataclasses
import json

import fake_archives
import pytest

from benchmarks.tables import published

_SMALL = (
  "data.image_size=16",
  "data.crop_size=0",
  "train.num_epochs=1",
  "train.batch_size=16",
  "eval.batch_size=32",
  "tensorboard=False",
)
_COUNTS = {"num_train": 24, "num_query": 10, "num_validation": 8}


@dataclasses.dataclass(frozen=True)
class _Table:
  """A table, how it is made small, and what has to come out.

  Attributes:
    config: After configs/tables/, with what follows the colon.
    archive: A maker of `fake_archives`; "" where TFDS has prepared the data.
    method: The one that is trained, with 48 bits.
    arguments: Protocol and backbone; the latter is tiny.
    numbers: Images to draw.
    sizes: Images of train, validation, query and database.
    num_classes: L.
    train_in_database: As the protocol has it.
    published: Data set and protocol in published.csv.
    beside: The published number; None where there is none.
  """

  config: str
  archive: str
  arguments: str
  numbers: dict[str, int]
  sizes: tuple[int, int, int, int]
  num_classes: int
  train_in_database: bool
  published: tuple[str, str]
  beside: float | None = None
  method: str = "dhn"


_TABLES = (
  _Table(
    config="mirflickr25k_hyp2.py",
    archive="mirflickr25k",
    arguments="protocol=hyp2",
    numbers=_COUNTS,
    sizes=(16, 8, 10, 119 - 10 - 24),  # One image has no label.
    num_classes=38,
    train_in_database=False,
    published=("mirflickr25k-38", "hyp2"),
    beside=0.851,
  ),
  _Table(
    config="mirflickr25k_deephash_pytorch.py",
    archive="mirflickr25k",
    arguments="protocol=deephash-pytorch",
    numbers=_COUNTS | {"num_database": 120 - 10 - 24},
    sizes=(16, 8, 10, 120 - 10 - 24),
    num_classes=38,
    train_in_database=False,
    published=("mirflickr25k-38", "deephash-pytorch"),
    beside=0.775,
  ),
  _Table(
    config="dsrh.py:mirflickr25k",
    archive="mirflickr25k",
    arguments="protocol=dsrh",
    numbers={"num_query": 95, "num_validation": 8},
    sizes=(16, 8, 95, 24),
    num_classes=38,
    train_in_database=True,
    published=("mirflickr25k-38", "dsrh"),
    method="dsrh",
  ),
  _Table(
    config="nuswide21_hyp2.py",
    archive="nuswide",
    arguments="protocol=hyp2",
    # Of each of the 21 classes.
    numbers={"num_train": 2, "num_query": 1, "num_validation": 42 - 16},
    sizes=(16, 26, 21, 117 - 21),  # Three have none of these labels.
    num_classes=21,
    train_in_database=True,
    published=("nuswide-21", "hyp2"),
    beside=0.749,
  ),
  _Table(
    config="idhn.py:iaprtc12",
    archive="iaprtc12",
    arguments="protocol=idhn",
    numbers=_COUNTS,
    sizes=(16, 8, 10, 120 - 10),
    num_classes=30,
    train_in_database=True,
    published=("iaprtc12", "idhn"),
    method="idhn",
  ),
  _Table(
    config="voc2012_hyp2.py",
    archive="",
    arguments="protocol=hyp2",
    numbers={"num_validation": 4},
    sizes=(16, 4, 20, 20),
    num_classes=20,
    train_in_database=True,
    published=("voc2012", "hyp2"),
  ),
  _Table(
    config="coco_deephash_pytorch.py",
    archive="",
    arguments="protocol=deephash-pytorch",
    numbers=_COUNTS,
    sizes=(16, 8, 10, 58 - 10),  # Two images have no label.
    num_classes=80,
    train_in_database=True,
    published=("coco", "deephash-pytorch"),
    beside=0.712,
  ),
)


# One of an archive, one of TFDS.
_ALWAYS = ("coco_deephash_pytorch.py",)


@pytest.fixture(scope="module")
def archives(tmp_path_factory):
  """Name -> overrides that say where the archive of 120 images is."""
  folder = tmp_path_factory.mktemp("archives")
  return {
    name: getattr(fake_archives, name)(folder / name, 120)
    for name in ("mirflickr25k", "nuswide", "iaprtc12")
  } | {"": {}}


@pytest.mark.parametrize(
  "table",
  [
    pytest.param(
      table,
      id=table.config,
      marks=[] if table.config in _ALWAYS else pytest.mark.long,
    )
    for table in _TABLES
  ],
)
def test_a_table(command, tfds_folder, archives, tmp_path, table):
  group = {"methods": (table.method,), "bits": (48,), "seeds": (0,)}
  source = archives[table.archive] | table.numbers
  overrides = [
    f"data.dir={tfds_folder / 'data'}",
    *(f"data.{name}={value}" for name, value in source.items()),
    *_SMALL,
  ]
  # Features that are not trained, once.
  references = ("chance", "lsh") if table is _TABLES[0] else ()
  code, out, err = command.run(
    f"--config=configs/tables/{table.config}",
    f"--config.cells=({group},)",
    f"--config.arguments={table.arguments},backbone=tiny",
    f"--config.references.methods={references}",
    f"--workdir={tmp_path}",
    *(f"--override={override}" for override in overrides),
    module="benchmarks.tables",
  )
  assert (code, err) == (0, ""), (out, err)
  _check_splits(table, tmp_path)
  _check_scores(table, tmp_path, references)


def _check_splits(table, workdir):
  data = json.loads((workdir / "data" / "result.json").read_text())
  assert tuple(data["sizes"].values()) == table.sizes
  assert data["num_classes"] == table.num_classes
  assert data["train_in_database"] == table.train_in_database
  cell = f"cells/{table.method}/48bits_seed0/result.json"
  run = json.loads((workdir / cell).read_text())
  assert run["split_sha256"] == data["split_sha256"]
  assert run["train_in_database"] == table.train_in_database
  counts = run["counts"]["queries"], run["counts"]["database"]
  assert counts == table.sizes[2:]
  text = (workdir / "table.md").read_text()
  assert all(digest in text for digest in data["split_sha256"].values())


def _check_scores(table, workdir, references):
  """The measured number is that of the run, the published that of the file."""
  text = (workdir / "table.md").read_text()
  assert "1 of 1 runs are done." in text
  with open(workdir / "table.csv", newline="") as file:
    lines = list(csv.DictReader(file))
  assert {line["method"] for line in lines} == {table.method, *references}
  trained = [line for line in lines if line["method"] == table.method]
  means = {line["metric"]: float(line["mean"]) for line in trained}
  cell = f"cells/{table.method}/48bits_seed0/result.json"
  scores = json.loads((workdir / cell).read_text())["metrics"]
  for name in ("ndcg@100", "acg@100"):
    assert means[name] == pytest.approx(scores[name]["expected"], rel=1e-5)

  metric = trained[0]["metric"]
  section = text.split(f"## {metric}\n")[1].split("\n## ")[0]
  (shown,) = (
    line for line in section.splitlines() if f"| {table.method} " in line
  )
  words = [word.strip() for word in shown.split("|")[1:-1]]
  # Of a score that is rounded already.
  best = float(words[3].removeprefix("**").removesuffix("**"))
  assert best == pytest.approx(means[metric], abs=5.1e-4)
  beside = "" if table.beside is None else f"{table.beside:.3f}"
  assert words[6] == beside
  rows = published.read(*table.published)
  elsewhere = "not measured here" in text
  assert elsewhere == (len(rows) > (table.beside is not None))
