"""Convert names and axes of PyTorch weights to those of the backbones."""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

_ALEXNET_LAYERS = {
  "conv1": "features.0",
  "conv2": "features.3",
  "conv3": "features.6",
  "conv4": "features.8",
  "conv5": "features.10",
  "fc6": "classifier.1",
  "fc7": "classifier.4",
}
_LEAVES = {
  ("params", "kernel"): "weight",
  ("params", "bias"): "bias",
  ("params", "scale"): "weight",
  ("batch_stats", "mean"): "running_mean",
  ("batch_stats", "var"): "running_var",
}
# Backbones whose files use Caffe's names and channel order.
CAFFE_BACKBONES = ("alexnet_caffe", "caffenet")
# Layers that the hash head replaces.
_CLASSIFIERS = ("fc", "classifier.6", "fc8", "_fc")


@dataclasses.dataclass(frozen=True)
class Plan:
  """The mapping from the tensors of a file to a backbone.

  Attributes:
    backbone: A key of `hash_network.BACKBONES`.
    sources: Path of a leaf, such as ("params", "conv1", "kernel") -> name in
      the file.
    missing: Names that the file lacks.
    mismatched: Name and both shapes of each tensor of the wrong shape.
    left_over: Other names in the file, except `ignored`.
    ignored: Names of the classifier and of BatchNorm's counters.
  """

  backbone: str
  sources: Mapping[tuple[str, ...], str]
  missing: tuple[str, ...]
  mismatched: tuple[str, ...]
  left_over: tuple[str, ...]
  ignored: tuple[str, ...]

  @property
  def fits(self) -> bool:
    """Whether the file matches this backbone exactly."""
    return not (self.missing or self.mismatched or self.left_over)


def make_plan(
  backbone: str,
  tensors: Mapping[str, np.ndarray],
  variables: Mapping[str, Any],
) -> Plan:
  """Match the tensors of a file with the variables of a backbone.

  Args:
    backbone: A key of `hash_network.BACKBONES`.
    tensors: Name -> array; names may share a prefix, such as "module.".
    variables: The backbone's "params" and "batch_stats": arrays or shapes.
  """
  leaves = {
    keys(path): leaf.shape
    for path, leaf in jax.tree_util.tree_leaves_with_path(variables)
  }
  names = {path: torch_name(backbone, path) for path in leaves}
  prefix = _common_prefix(list(names.values()), tensors)
  sources, missing, mismatched = {}, [], []
  for path, name in names.items():
    if prefix + name not in tensors:
      missing.append(name)
      continue
    sources[path] = prefix + name
    shape = _arranged_shape(tensors[prefix + name].shape, backbone, path)
    if shape != leaves[path]:
      mismatched.append(f"{name} {shape} instead of {leaves[path]}")
  others = sorted(set(tensors) - set(sources.values()))
  ignored = [
    name
    for name in others
    if name.endswith("num_batches_tracked")
    or name.removeprefix(prefix).rpartition(".")[0] in _CLASSIFIERS
  ]
  return Plan(
    backbone=backbone,
    sources=sources,
    missing=tuple(sorted(missing)),
    mismatched=tuple(mismatched),
    left_over=tuple(name for name in others if name not in ignored),
    ignored=tuple(ignored),
  )


def torch_name(backbone: str, path: tuple[str, ...]) -> str:
  """Return the PyTorch name of the leaf at a path."""
  kind, *layers, leaf = path
  if backbone in CAFFE_BACKBONES:
    name = layers[0]
  elif backbone.startswith("alexnet"):
    name = _ALEXNET_LAYERS[layers[0]]
  elif backbone.startswith("efficientnet"):
    name = ".".join(f"_{layer}" for layer in layers)
    name = name.replace("blocks_", "blocks.")
  else:
    name = ".".join(layers)
    name = name.replace("downsample_conv", "downsample.0")
    name = name.replace("downsample_bn", "downsample.1").replace("_", ".")
  return f"{name}.{_LEAVES[kind, leaf]}"


def convert(
  tensor: np.ndarray, backbone: str, path: tuple[str, ...]
) -> np.ndarray:
  """Convert a PyTorch tensor to the Flax leaf at a path, in float32."""
  return np.ascontiguousarray(_arrange(tensor, backbone, path), np.float32)


def to_torch(
  backbone: str, variables: Mapping[str, Any]
) -> dict[str, np.ndarray]:
  """Return the PyTorch tensors of a backbone, by name; not for an AlexNet."""
  tensors = {}
  for path, leaf in jax.tree_util.tree_leaves_with_path(variables):
    path = keys(path)
    tensor = np.asarray(leaf)
    if path[-1] == "kernel":
      tensor = np.moveaxis(tensor, (-1, -2), (0, 1))
    tensors[torch_name(backbone, path)] = np.ascontiguousarray(tensor)
  return tensors


def _arranged_shape(shape, backbone, path):
  """Return the shape after `_arrange`, or the given one if that fails."""
  arrange = functools.partial(_arrange, backbone=backbone, path=path)
  try:
    return jax.eval_shape(
      arrange, jax.ShapeDtypeStruct(shape, np.float32)
    ).shape
  except (TypeError, ValueError):
    return shape


def _arrange(tensor, backbone, path):
  """Reorder axes and channels from PyTorch to Flax."""
  if path[-1] != "kernel":
    return tensor
  if tensor.ndim == 4:
    if backbone in CAFFE_BACKBONES and path[-3] == "conv1":
      tensor = tensor[:, ::-1]
    return tensor.transpose(2, 3, 1, 0)
  if path[-2] == "fc6":
    # PyTorch flattens channels first, here they are last.
    outputs = tensor.shape[0]
    return (
      tensor.reshape(outputs, -1, 6, 6)
      .transpose(2, 3, 1, 0)
      .reshape(-1, outputs)
    )
  return tensor.T


def _common_prefix(names, tensors):
  """Return the prefix under which most names are in the file."""
  anchor = names[0]
  prefixes = {
    name[: -len(anchor)] for name in tensors if name.endswith(anchor)
  } | {""}
  return max(
    sorted(prefixes),
    key=lambda prefix: sum(prefix + name in tensors for name in names),
  )


def keys(path: tuple[Any, ...]) -> tuple[str, ...]:
  """Return the keys of a path of jax.tree_util."""
  return tuple(entry.key for entry in path)
