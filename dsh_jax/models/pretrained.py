"""Loads weights of torchvision and timm into the backbones.

To compare a file with a backbone, without training:

  python -m dsh_jax weights --file=FILE

Names follow torchvision (resnet*, alexnet, alexnet_dsrh), as do timm's
resnets. alexnet_caffe and caffenet read conv1.weight, ..., fc7.bias, with axes
in PyTorch's order and channels blue, green, red, as in the BVLC releases.
"""

import dataclasses
import json
import os
import sys
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from dsh_jax import errors
from dsh_jax.models import hash_network, naming, weight_files

_FIELD = "config.model.pretrained"
_HUB = "https://huggingface.co"
_HUB_FILE = "model.safetensors"


@dataclasses.dataclass(frozen=True)
class Preprocessing:
  """Normalisation that weights expect: (values / 255 - mean) / std.

  Attributes:
    mean: Means of red, green and blue, as shares of 255.
    std: Standard deviations of red, green and blue, as shares of 255.
  """

  mean: tuple[float, float, float]
  std: tuple[float, float, float]


IMAGENET = Preprocessing((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
# Values from 0 to 255 minus the mean of ImageNet's training images.
CAFFE = Preprocessing(
  (122.67891 / 255, 116.66877 / 255, 104.00699 / 255), (1 / 255,) * 3
)


def load(source: str, backbone: str, variables: Mapping[str, Any]) -> dict:
  """Load pretrained weights into the backbone of a network.

  Args:
    source: A weights file, or the id of a Hugging Face Hub repository.
    backbone: A name of `hash_network.BACKBONES`.
    variables: Variables of the hash network: "params" and, with BatchNorm,
      "batch_stats".

  Returns:
    The variables with the backbone's replaced, as float32 NumPy arrays; the
    head is unchanged.
  """
  tensors = weight_files.read(find(source))
  inner = {kind: tree["backbone"] for kind, tree in variables.items()
           if "backbone" in tree}  # fmt: skip
  plan = naming.make_plan(backbone, tensors, inner)
  if not plan.fits:
    raise errors.UserError(
      f"{source!r} does not hold the weights of {backbone}:"
      f" {_count('missing', plan.missing)},"
      f" {_count('of another shape', plan.mismatched)},"
      f" {_count('left over', plan.left_over)}."
      f" Change {_FIELD} or config.model.backbone."
    )

  def fill(path, leaf):
    del leaf
    path = naming.keys(path)
    return naming.convert(tensors[plan.sources[path]], backbone, path)

  filled = jax.tree_util.tree_map_with_path(fill, inner)
  return {
    kind: {**tree, "backbone": filled[kind]} if kind in filled else tree
    for kind, tree in variables.items()
  }


def preprocessing(source: str, backbone: str) -> Preprocessing:
  """Return the mean and standard deviation that weights expect.

  They come from a timm config.json beside the file; without one they are those
  of ImageNet, or of the Caffe releases for alexnet_caffe and caffenet.
  """
  path = os.path.join(os.path.dirname(find(source)), "config.json")
  if os.path.exists(path):
    try:
      with open(path, encoding="utf-8") as file:
        config = json.load(file)
      config = config.get("pretrained_cfg", config)
      if "mean" in config and "std" in config:
        mean, std = (
          tuple(float(x) for x in config[name]) for name in ("mean", "std")
        )
        if len(mean) != 3 or len(std) != 3:
          raise ValueError("mean and std need three values")
        return Preprocessing(mean, std)
    except (AttributeError, TypeError, ValueError) as error:
      raise errors.UserError(
        f"Cannot read mean and std from {path!r}: {error}. Correct or remove"
        f" that file, or change {_FIELD}."
      ) from error
  return CAFFE if backbone in naming.CAFFE_BACKBONES else IMAGENET


def find(source: str) -> str:
  """Return the path of a weights file, downloaded from the Hub if needed.

  Args:
    source: A file, or "owner/name" of a repository on the Hugging Face Hub
      that holds model.safetensors.
  """
  has_ending = os.path.splitext(source)[1].lower() in weight_files.ENDINGS
  if has_ending or os.path.exists(source):
    if not os.path.isfile(source):
      raise errors.UserError(f"No weights file {source!r}. Change {_FIELD}.")
    return source
  if source.count("/") != 1 or source.startswith((".", "/", "~")):
    raise errors.UserError(
      f"{source!r} is neither a file that exists nor OWNER/NAME of a"
      f" Hugging Face Hub repository. Change {_FIELD}."
    )
  by_hand = (
    f"Fetch {_HUB}/{source}/resolve/main/{_HUB_FILE} (and config.json beside"
    f" it) on a machine with network, and set {_FIELD} to its path."
  )
  try:
    import huggingface_hub  # An optional extra, needed only for Hub ids.
  except ImportError as error:
    raise errors.UserError(
      f"{source!r} looks like a Hugging Face Hub id, and huggingface_hub is"
      " not installed: pip install 'dsh_jax[hub]', or in a clone"
      f" pip install -e '.[hub]'. Or: {by_hand}"
    ) from error
  try:
    path = huggingface_hub.hf_hub_download(source, _HUB_FILE)
  except Exception as error:  # No network, repository or file.
    raise errors.UserError(
      f"Cannot fetch {source!r} ({type(error).__name__}). {by_hand}"
    ) from error
  try:
    huggingface_hub.hf_hub_download(source, "config.json")
  except Exception:  # Optional: without it ImageNet's mean and std are used.
    print(f"{source} has no config.json.", file=sys.stderr)
  return path


def _count(what: str, names: tuple[str, ...]) -> str:
  example = f" ({names[0]}, ...)" if names else ""
  return f"{len(names)} {what}{example}"


def best_plan(
  path: str, backbone: str | None = None
) -> tuple[dict[str, Any], naming.Plan]:
  """Return the tensors of a file and the plan of the best-fitting backbone.

  Args:
    path: A weights file.
    backbone: The only name of `hash_network.BACKBONES` to try; None for all.
  """
  tensors = weight_files.read(path)
  names = [backbone] if backbone else [*hash_network.BACKBONES]
  plans = [
    naming.make_plan(name, tensors, _backbone_shapes(name)) for name in names
  ]
  return tensors, min(
    plans,
    key=lambda plan: len(plan.missing + plan.mismatched + plan.left_over),
  )


def _backbone_shapes(name: str) -> dict[str, Any]:
  """Return the shapes of the variables of a backbone."""
  network = hash_network.create_network(name, num_outputs=1)
  image = jax.ShapeDtypeStruct((1, 67, 67, 3), jnp.float32)
  variables = jax.eval_shape(network.init, jax.random.key(0), image)
  return {
    kind: tree["backbone"]
    for kind, tree in variables.items()
    if "backbone" in tree
  }
