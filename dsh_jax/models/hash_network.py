"""The hash network: a backbone and a linear head."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from dsh_jax import errors
from dsh_jax.models import alexnet, efficientnet, resnet, tiny, vectors

BACKBONES: dict[str, Callable[..., nn.Module]] = {
  "tiny": tiny.tiny,
  "resnet18": resnet.resnet18,
  "resnet34": resnet.resnet34,
  "resnet50": resnet.resnet50,
  "resnet101": resnet.resnet101,
  "efficientnet_lite0": efficientnet.efficientnet_lite0,
  "alexnet": alexnet.alexnet,
  "alexnet_caffe": alexnet.alexnet_caffe,
  "alexnet_dsrh": alexnet.alexnet_dsrh,
  "caffenet": alexnet.caffenet,
}
VECTORS = "features"  # The backbone of vectors; all others take images.


class HashHead(nn.Module):
  """A linear map from feature layers to logits.

  It sums one Dense layer per feature layer. This equals one Dense layer on the
  concatenated features, but each can have its own learning rate.

  Attributes:
    num_outputs: Width of the logits, K for most methods.
    feature_layers: Layers to read; () for the last one.
    use_bias: Whether the last Dense layer has a bias.
    batch_norm: Whether to normalise the logits over the batch.
    axis_name: pmap axis of BatchNorm's statistics.
  """

  num_outputs: int
  feature_layers: Sequence[str] = ()
  use_bias: bool = True
  batch_norm: bool = False
  axis_name: str | None = None

  @nn.compact
  def __call__(self, features: Mapping[str, jax.Array], train: bool):
    """Return logits, float32 [B,num_outputs].

    Args:
      features: Layer -> float [B,F], with F by layer.
      train: Whether BatchNorm uses the batch's statistics.
    """
    inputs = {layer: features[layer] for layer in self.feature_layers}
    inputs = inputs or {"dense": features[list(features)[-1]]}
    logits = None
    for name, x in inputs.items():
      # Float32, because the sign is the code. By default, a TPU rounds both
      # factors to bfloat16 and a GPU to TF32.
      y = nn.Dense(
        self.num_outputs,
        use_bias=self.use_bias and name == list(inputs)[-1],
        precision=jax.lax.Precision.HIGHEST,
        kernel_init=nn.initializers.lecun_normal(),
        name=name,
      )(x.astype(jnp.float32))
      logits = y if logits is None else logits + y
    if self.batch_norm:
      logits = nn.BatchNorm(
        use_running_average=not train,
        momentum=0.9,
        axis_name=self.axis_name,
        name="bn",
      )(logits)
    return logits


class HashNetwork(nn.Module):
  """A backbone followed by a hash head.

  Attributes:
    backbone: Images -> {layer: features}.
    head: {layer: features} -> logits.
    feature_layers: Layers that the head reads; () for the last one.
  """

  backbone: nn.Module
  head: nn.Module
  feature_layers: Sequence[str] = ()

  def __call__(self, images: jax.Array, train: bool = False) -> jax.Array:
    """Return logits, float32 [B,num_outputs].

    Args:
      images: Normalised images, float [B,H,W,3].
      train: Whether BatchNorm uses the batch's statistics (needs
        `mutable=["batch_stats"]`) and dropout is applied (needs a PRNG key
        "dropout").
    """
    return self.head(self.backbone(images, train), train)

  def features(self, images: jax.Array, train: bool = False) -> jax.Array:
    """Return the features that the head reads, concatenated, float32 [B,F].

    The arguments are those of `__call__`.
    """
    features = self.backbone(images, train)
    names = self.feature_layers or list(features)[-1:]
    return jnp.concatenate(
      [features[layer].astype(jnp.float32) for layer in names], axis=-1
    )


def create_network(
  backbone: str = "tiny",
  num_outputs: int = 48,
  dtype: Any = jnp.float32,
  feature_layers: Sequence[str] = (),
  axis_name: str | None = None,
  head: Mapping[str, Any] | None = None,
  remat: bool = False,
  frozen: str = "",
  normalization: str = "none",
  hidden_layers: Sequence[int] = (),
) -> HashNetwork:
  """Create a hash network by the name of its backbone.

  Args:
    backbone: A key of `BACKBONES`, or "features" for items that are vectors.
    num_outputs: Width of the logits, at least 1.
    dtype: Type of the backbone's computation, float32 or bfloat16; parameters,
      statistics and head are float32.
    feature_layers: Backbone layers that the head reads, such as
      ("fc6", "fc7"); () for the last one.
    axis_name: pmap axis of BatchNorm's statistics; None for those of the whole
      array, which under jit is the global batch.
    head: Options of the head: use_bias, batch_norm.
    remat: Whether the backward pass recomputes the backbone's activations
      instead of storing them.
    frozen: With backbone "features", a key of `BACKBONES` whose
      `feature_layers` turn images into vectors; "" where items are vectors.
    normalization: Of vectors, one of `vectors.NORMALIZATIONS`.
    hidden_layers: Widths of dense layers between vectors and head.

  Raises:
    UserError: An unknown name, or no output.
  """
  known = BACKBONES if frozen else (*BACKBONES, VECTORS)
  if (name := frozen or backbone) not in known:
    raise errors.unknown("backbone", name, known, "config.model.backbone")
  if num_outputs < 1:
    raise errors.UserError(
      f"The head needs at least 1 output, got {num_outputs}."
      " Change config.bits."
    )
  shared = {"dtype": dtype, "axis_name": axis_name, "remat": remat}
  if backbone == VECTORS:
    module = vectors.Vectors(
      normalization=normalization,
      hidden_layers=tuple(hidden_layers),
      **shared,
    )
    if frozen:
      images = BACKBONES[frozen](**shared)
      _check_layers(feature_layers, images)
      module = vectors.Frozen(images, module, tuple(feature_layers))
      feature_layers = ()
  else:
    module = BACKBONES[backbone](**shared)
  _check_layers(feature_layers, module)
  head = dict(head or {})
  for option in head:
    if option not in ("use_bias", "batch_norm"):
      raise errors.unknown(
        "head option", option, ("use_bias", "batch_norm"), "config.model"
      )
  layers = tuple(feature_layers)
  return HashNetwork(
    backbone=module,
    head=HashHead(num_outputs, layers, axis_name=axis_name, **head),
    feature_layers=layers,
  )


def _check_layers(layers, module):
  for layer in layers:
    if layer not in module.feature_layers:
      raise errors.unknown(
        "feature layer",
        layer,
        module.feature_layers,
        "config.model.feature_layers",
      )
