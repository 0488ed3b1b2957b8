"""Features of images by a frozen backbone, computed once."""

import dataclasses
import hashlib
import json
import pathlib
import time
from collections.abc import Mapping
from typing import Any

import flax
import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from dsh_jax import data, errors, files, models, parallel
from dsh_jax.config import factories
from dsh_jax.data import checked
from dsh_jax.models import pretrained
from dsh_jax.runs import parts, workdir

_FILE = "backbone.npz"  # In the folder of a run.


class Extractor:
  """The frozen backbone of a configuration.

  Attributes:
    variables: "params" and, with BatchNorm, "batch_stats" of the backbone.
    num_features: F.
    batch_size: Images at once, on all devices of this host.
    fingerprint: Digest of the weights and of everything else that features
      depend on, except the images.
  """

  def __init__(self, config: ml_collections.ConfigDict, batch_size: int):
    """Create the backbone, with its pretrained weights.

    Args:
      config: seed, dtype, data and model are read; returned by
        `factories.with_preprocessing`.
      batch_size: Images on each device at once, at least 1.

    Raises:
      UserError: As `models.create_network` and `pretrained.load`.
    """
    backbone = config.model.backbone
    network = models.create_network(
      backbone=backbone,
      num_outputs=1,
      dtype=jnp.dtype(config.dtype),
      feature_layers=tuple(config.model.feature_layers),
    )
    augmentation = factories.create_augmentation(config)
    size = augmentation.crop_size
    shape = jax.ShapeDtypeStruct((1, size, size, 3), jnp.float32)
    key = jax.random.key(config.seed)
    if config.model.pretrained:
      variables = jax.eval_shape(network.init, key, shape)
      variables = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), variables)
      source = factories.weights_source(config)
      variables = pretrained.load(source, backbone, variables)
    else:
      variables = jax.device_get(
        jax.jit(network.init)(key, jnp.zeros(shape.shape, shape.dtype))
      )
    self.variables = {
      kind: tree["backbone"]
      for kind, tree in variables.items()
      if "backbone" in tree
    }
    self.fingerprint = _fingerprint(config, self.variables)
    self.num_features = jax.eval_shape(
      lambda x: network.apply(variables, x, method="features"), shape
    ).shape[1]

    def extract(variables, images):
      inputs = augmentation.without_randomness(images)
      return network.apply(variables, inputs, train=False, method="features")

    # Each host computes the features of all images.
    mesh = parallel.DeviceMesh("jit", jax.local_devices())
    self._mesh = mesh
    self._step = mesh.parallelize(extract)
    self._variables = mesh.replicate(
      {kind: {"backbone": tree} for kind, tree in self.variables.items()}
    )
    self.batch_size = batch_size * mesh.num_devices

  def __call__(self, images: np.ndarray) -> np.ndarray:
    """Return the features float32 [n,F] of images uint8 [n,H,W,3].

    Raises:
      UserError: The network gives NaN.
    """
    parts = []
    for first in range(0, len(images), self.batch_size):
      # The last batch is padded with copies of the last image.
      rows = np.arange(first, first + self.batch_size)
      batch = images[np.minimum(rows, len(images) - 1)]
      outputs = self._step(self._variables, self._mesh.shard_batch(batch))
      parts.append(self._mesh.gather(outputs[None]))
    features = np.concatenate(parts)[: len(images)]
    if not np.isfinite(features).all():
      raise errors.UserError(
        "The frozen backbone gives features that are not finite. Change"
        " config.model.pretrained."
      )
    return features


def with_features(
  config: ml_collections.ConfigDict, splits: data.Splits
) -> tuple[data.Splits, dict[str, Any], dict[str, float]]:
  """Return splits with features instead of images, and the backbone.

  The prepared data keep the features for all runs with the same backbone,
  weights and preprocessing.

  Args:
    config: With `config.model.frozen`.
    splits: Images.

  Returns:
    The splits, `Extractor.variables`, and what this call has computed:
    "images" and "secs", with compilation.

  Raises:
    UserError: As `Extractor`, or the features cannot be written.
  """
  images = splits.train.images
  extractor = Extractor(config, config.eval.batch_size)
  cost = {"images": 0, "secs": 0.0}

  def compute(rows):
    started = time.monotonic()
    features = extractor(images[rows])
    cost["images"] += len(rows)
    cost["secs"] += time.monotonic() - started
    return {"features": features}

  name = f"features-{config.model.backbone}-{extractor.fingerprint}"
  folder = pathlib.Path(images.filename).parent
  path, sums = folder / f"{name}.npy", folder / f"{name}.checksums"
  try:
    if not (path.exists() and sums.exists()):
      with parts.computed(
        folder / f"{name}.{jax.process_index()}.parts",
        len(images),
        compute,
        f"{config.model.backbone}: features of {len(images):,} images",
        name,
        exclusive=False,
      ) as found:
        with files.replacing(path) as partial, partial.open("wb") as file:
          np.save(file, found["features"])
        with files.replacing(sums) as partial, partial.open("wb") as file:
          np.save(file, checked.checksums(found["features"]))
    features = checked.CheckedArray(
      np.load(path, mmap_mode="r", allow_pickle=False),
      files.read_arrays(sums),
      sums,
    )
  except (OSError, ValueError) as error:
    raise errors.UserError(
      f"Cannot write or read {path}: {errors.describe(error)}. Delete it, free"
      " space there, or change config.data.dir."
    ) from error

  def replaced(split):
    return dataclasses.replace(split, images=features)

  splits = dataclasses.replace(
    splits,
    train=replaced(splits.train),
    validation=replaced(splits.validation),
    query=replaced(splits.query),
    database=replaced(splits.database),
    # Not the digest of the features: machines may differ in their last bits.
    content_sha256=f"{splits.content_sha256}-{extractor.fingerprint}",
  )
  return splits, extractor.variables, cost


def _fingerprint(config, variables) -> str:
  settings = [
    config.model.backbone,
    list(config.model.feature_layers),
    config.dtype,
    config.data.crop_size,
    list(config.data.mean),
    list(config.data.std),
  ]
  digest = hashlib.sha256(json.dumps(settings).encode())
  for leaf in jax.tree.leaves(variables):
    digest.update(np.ascontiguousarray(leaf))
  return digest.hexdigest()[:16]


def write(run: workdir.Workdir, variables: Mapping[str, Any]) -> None:
  """Write a frozen backbone to the folder of a run.

  Raises:
    StorageError: It cannot be written.
  """
  run.write_arrays(_FILE, flatten(variables))


def read(run: workdir.Workdir) -> dict[str, np.ndarray]:
  """Read the frozen backbone of a run, arrays by path.

  Raises:
    UserError: The run lacks it, or it is damaged.
  """
  arrays = run.read_arrays(_FILE)
  if arrays is None:
    raise errors.UserError(
      f"--workdir={run.path} has no {_FILE}, the frozen backbone of the run."
      " Restore it from a copy."
    )
  return arrays


def flatten(variables: Mapping[str, Any]) -> dict[str, np.ndarray]:
  """Return the variables of a backbone as arrays by path, as `read`."""
  return flax.traverse_util.flatten_dict(variables, sep="/")


def join(
  arrays: Mapping[str, np.ndarray],
  params: Mapping[str, Any],
  stats: Mapping[str, Any],
) -> tuple[dict[str, Any], dict[str, Any]]:
  """Join a frozen backbone and the layers trained on its features.

  Args:
    arrays: The backbone, from `read`.
    params: Parameters of the trained layers.
    stats: Their BatchNorm statistics.

  Returns:
    (params, batch_stats) for `factories.create_joined_network`.
  """
  frozen = flax.traverse_util.unflatten_dict(dict(arrays), sep="/")

  def joined(tree, kind):
    backbone = {"images": frozen[kind]} if kind in frozen else {}
    if "backbone" in tree:
      backbone["vectors"] = tree["backbone"]
    return {**tree, "backbone": backbone} if backbone else dict(tree)

  return joined(params, "params"), joined(stats, "batch_stats")
