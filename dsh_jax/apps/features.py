"""Writes features of images, computed by a backbone."""

import importlib
import sys
from collections.abc import Mapping, Sequence

import jax
import ml_collections
import numpy as np
from absl import flags

from dsh_jax import errors, models, parallel
from dsh_jax.apps import command, commands, image_files
from dsh_jax.config import config_files, factories
from dsh_jax.runs import frozen, parts

_BATCH = 32
_SPLITS = ("train", "validation", "query", "database")


def of_images(
  config: ml_collections.ConfigDict, source: str, out: str
) -> Mapping[str, str]:
  """Write the features of a folder or list of images.

  Args:
    config: As in configs/default.py; data.image_size, data.resize and what
      `frozen.Extractor` reads.
    source: See `image_lists.find`.
    out: The .npz file; see `image_files.computed`.

  Returns:
    Path -> reason of each unreadable image.

  Raises:
    UserError: As `image_files.computed`, or the backbone is wrong.
  """
  extractor = _extractor(config)
  with image_files.computed(
    source,
    out,
    config.data.image_size,
    config.data.resize,
    lambda pixels: {"features": extractor(pixels)},
    f"{config.model.backbone}: features of {{}}",
    extractor.fingerprint,
  ) as found:
    image_files.write(
      out,
      features=found.arrays["features"],
      ids=np.array(found.names)[found.readable],
      unreadable_ids=np.array(list(found.unreadable), str),
    )
  return found.unreadable


def of_config(config: ml_collections.ConfigDict, out: str) -> None:
  """Write the features of a data set, with labels and splits.

  Args:
    config: As in configs/default.py.
    out: As for `of_images`.

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
  extractor, images = _extractor(config), splits.train.images
  with (
    image_files.written(out) as path,
    parts.computed(
      path.with_name(f"{path.name}.parts"),
      len(rows),
      lambda places: {"features": extractor(np.asarray(images[rows[places]]))},
      f"{config.model.backbone}: features of {len(rows):,} images",
      f"{extractor.fingerprint} {splits.sha256}",
    ) as found,
  ):
    image_files.write(
      out,
      features=found["features"],
      labels=labels,
      ids=ids.astype(str),
      split=np.array([";".join(x) for x in names]),
      class_names=np.array(splits.class_names),
    )


def _extractor(config: ml_collections.ConfigDict) -> frozen.Extractor:
  of_device = -(-_BATCH // jax.local_device_count())
  return frozen.Extractor(factories.with_preprocessing(config), of_device)


def _config(given: flags.FlagValues) -> ml_collections.ConfigDict:
  """Return the configuration that the flags ask for."""
  if given.config is None:
    listfile = importlib.import_module("configs.listfile")
    config = listfile.get_config(
      f"backbone={given.backbone or commands.BACKBONE}"
    )
  else:
    config = given.config
    if given.backbone and given.backbone != config.model.backbone:
      config.model.backbone = given.backbone
      config.model.pretrained = (
        commands.BACKBONE if given.backbone == commands.BACKBONE else ""
      )
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
  given = commands.parse("features", argv)
  if bool(given.images) == (given.config is not None):
    raise errors.UserError("Give either --images=FOLDER or --config=FILE.")
  command.check_choice("--backbone", given.backbone, models.BACKBONES)
  config = _config(given)
  parallel.use_cores(_BATCH)
  if not config.model.pretrained:
    print("The weights are random: no --pretrained was given.", file=sys.stderr)
  if given.images:
    unreadable = of_images(config, given.images, given.out)
    image_files.print_unreadable(unreadable, given.out)
    print(f"The features are in {given.out}.")
    return
  of_config(config, given.out)
  print(
    f"The features are in {given.out}. Train on them with\n"
    "  python -m dsh_jax train --config=configs/features.py"
    f" --config.data.features={given.out}"
  )
