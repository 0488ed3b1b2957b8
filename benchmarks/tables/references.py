"""The rows of a table that need no training, in one process.

python -m benchmarks.tables.references --config=FILE:... --workdir=DIR \\
  --methods=lsh,itq --bits=48,64 --metrics=ndcg@100,map@all

The features are those of the backbone at the start of training: pretrained if
the config has weights, else random.
"""

import pathlib
import sys
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from absl import flags
from ml_collections import config_flags

from benchmarks.tables import cells, runner
from dsh_jax import errors
from dsh_jax.apps import command

_COSINE = "cosine"  # Ranks by the features themselves.
_CHANCE = "chance"  # All codes are equal.


def wanted(
  table: cells.Table, workdir: pathlib.Path
) -> list[tuple[int, str, pathlib.Path]]:
  """Return (bits, method, folder) of every reference row."""
  return [
    (bits, method, _folder(workdir / "references", method, bits))
    for bits in table.reference_bits
    for method in table.reference_methods
  ]


def _folder(workdir, method, bits):
  return workdir / f"{method}_{bits}bits"


def refresh(table: cells.Table, workdir: pathlib.Path) -> None:
  """Remove the rows if the table asks for other ones."""
  job = make_job(table, workdir)
  if runner.state(job.folder, job.settings) == runner.OTHER:
    (job.folder / "result.json").unlink()


def make_job(table: cells.Table, workdir: pathlib.Path) -> runner.Job:
  """Return the job that makes all rows."""
  folder = workdir / "references"
  settings = [
    *table.some_settings(),
    f"--methods={','.join(table.reference_methods)}",
    f"--bits={','.join(map(str, table.reference_bits))}",
    f"--metrics={','.join(table.metrics)}",
  ]
  command = [sys.executable, "-m", "benchmarks.tables.references", *settings]
  return runner.Job(
    title="references",
    command=[*command, f"--workdir={folder}"],
    settings=settings,
    folder=folder,
  )


def failures(
  table: cells.Table, workdir: pathlib.Path
) -> list[tuple[str, str, str]]:
  """Return (title, error, folder) if the rows could not be made."""
  job = make_job(table, workdir)
  if runner.state(job.folder, job.settings) in (runner.FAILED, runner.OTHER):
    error = runner.error_of(job.folder, job.settings)
    return [(job.title, error, job.folder.name)]
  return []


def make(config, methods, lengths, metrics, workdir: pathlib.Path) -> None:
  """Make all rows.

  Args:
    config: As in configs/default.py; its method does not matter.
    methods: Names of `unsupervised.METHODS`, "cosine" and "chance".
    lengths: K of each row; a cosine ranking has none and is the same in all.
    metrics: Names of metrics, for the rows without codes.
    workdir: A folder for each row is made in it.

  Raises:
    UserError: A method does not exist.
  """
  from dsh_jax.config import factories
  from dsh_jax.retrieval import codes, real_valued, unsupervised

  known = (*unsupervised.METHODS, _COSINE, _CHANCE)
  for method in methods:
    if method not in known:
      raise errors.unknown(
        "reference", method, known, "config.references.methods"
      )
  started = time.monotonic()
  splits = factories.load_splits(config)
  query, database = splits.query, splits.database
  train, *encoded = _features(config, splits, [splits.train, query, database])
  options = {
    "drop_empty": config.eval.drop_empty,
    "normalizer": config.eval.normalizer,
  }
  ranked = None
  if _COSINE in methods:
    ranked = real_valued.evaluate_cosine(
      *encoded, query.labels, database.labels, metrics, **options
    )
  facts = {
    "seed": config.seed,
    "backbone": config.model.backbone,
    "dataset": config.data.name,
    "protocol": splits.protocol,
    "split_sha256": dict(splits.sha256),
    "train_in_database": splits.train_in_database,
    "counts": {"queries": len(query), "database": len(database)},
  }
  for bits in lengths:
    for method in methods:
      folder = _folder(workdir, method, bits)
      folder.mkdir(parents=True, exist_ok=True)
      result = {"method": method, "bits": bits, **facts}
      if method == _COSINE:
        result |= ranked
      else:
        _write_codes(
          folder / "codes.npz",
          [
            codes.pack(x) for x in _encode(method, train, encoded, bits, config)
          ],
          (query, database),
          bits,
        )
        runner.write_json(
          folder / "config.json",
          {f"eval.{name}": value for name, value in options.items()},
        )
      runner.write_json(folder / "result.json", result)
  secs = time.monotonic() - started
  runner.write_json(workdir / "result.json", {"seconds": secs})


def _encode(method, train, features, bits, config) -> list[Any]:
  from dsh_jax.retrieval import unsupervised

  if method == _CHANCE:
    return [np.zeros((len(x), bits)) for x in features]
  encode = unsupervised.fit(method, train, bits, config.seed)
  return [encode(x) for x in features]


def _write_codes(path, packed, splits, bits):
  arrays = {"num_bits": np.asarray(bits)}
  for name, words, split in zip(
    ("query", "database"), packed, splits, strict=True
  ):
    arrays[f"{name}_codes"] = words
    arrays[f"{name}_labels"] = split.labels
    arrays[f"{name}_ids"] = split.ids
  temporary = path.with_name("codes.tmp.npz")
  np.savez(temporary, **arrays)
  temporary.replace(path)


def _features(config, splits, wanted) -> list[np.ndarray]:
  """Return features float32 [N,F] of each split, before any training."""
  import jax

  from dsh_jax.config import factories
  from dsh_jax.runs import frozen

  if factories.takes_vectors(config):
    if config.model.frozen:
      config = factories.with_preprocessing(config)
      splits, *_ = frozen.with_features(config, splits)
      wanted = [splits.train, splits.query, splits.database]
    return [split.take(np.arange(len(split))) for split in wanted]

  method = factories.create_method(config, splits.num_classes)
  network = factories.create_network(config, method)
  augmentation = factories.create_augmentation(config)
  tx = factories.create_optimizer(config, method, num_steps=1)
  state = factories.create_state(config, network, method, tx)
  params = {name: state.params[name] for name in ("backbone", "head")}

  @jax.jit
  def features(images):
    return network.apply(
      {"params": params, "batch_stats": state.batch_stats},
      augmentation.without_randomness(images),
      train=False,
      method="features",
    )

  size = config.eval.batch_size

  def of_split(split):
    found = []
    for first in range(0, len(split), size):
      # The last batch is padded with copies of the last image.
      rows = np.minimum(np.arange(first, first + size), len(split) - 1)
      found.append(np.asarray(features(split.take(rows)), np.float32))
    return np.concatenate(found)[: len(split)]

  return [of_split(split) for split in wanted]


def _main(argv: Sequence[str]) -> None:
  command.parse(argv, description=__doc__)
  values = flags.FLAGS
  make(
    values.config,
    values.methods,
    [int(bits) for bits in values.bits],
    values.metrics,
    pathlib.Path(values.workdir),
  )


if __name__ == "__main__":
  config_flags.DEFINE_config_file("config", None, "A file of configs.")
  flags.DEFINE_string("workdir", None, "Folder of the rows.")
  flags.DEFINE_list(
    "methods", [], "Names of dsh_jax.retrieval.unsupervised.METHODS."
  )
  flags.DEFINE_list("bits", [], "Code lengths.")
  flags.DEFINE_list("metrics", [], "Metrics of rows without codes.")
  command.run(_main)
