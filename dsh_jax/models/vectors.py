"""The backbone of data that are features already: identity, or a small MLP."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

NORMALIZATIONS = ("none", "l2", "standardise")


class Vectors(nn.Module):
  """Normalises features and passes them on, or through an MLP.

  Attributes:
    normalization: "none"; "l2": to length 1; "standardise": less the mean and
      over the deviation of the training items, which are the parameters `mean`
      and `scale`, and which no gradient reaches.
    hidden_layers: Widths of dense layers, each followed by a relu and
      BatchNorm; () is the identity.
    dtype: Type of the dense layers; parameters and statistics are float32.
    axis_name: pmap axis over which BatchNorm takes its statistics, or None
      for those of the array that it sees.
    remat: Ignored: there is little to compute again.
  """

  normalization: str = "none"
  hidden_layers: tuple[int, ...] = ()
  dtype: Any = jnp.float32
  axis_name: str | None = None
  remat: bool = False

  @property
  def feature_layers(self) -> tuple[str, ...]:
    """Names of what `__call__` returns, in order."""
    count = len(self.hidden_layers)
    return ("input", *(f"hidden{n}" for n in range(1, count + 1)))

  @nn.compact
  def __call__(self, vectors: jax.Array, train: bool) -> dict[str, jax.Array]:
    """Return the normalised features and the output of every dense layer.

    Args:
      vectors: float [B,F].
      train: Whether BatchNorm uses the batch's statistics.

    Returns:
      Features by layer, float32 [B,F] each; the last one is the usual choice.
    """
    x = vectors.astype(jnp.float32)
    if self.normalization == "l2":
      length = jnp.linalg.norm(x, axis=1, keepdims=True)
      x = x / jnp.where(length > 0, length, 1)
    elif self.normalization == "standardise":
      width = (x.shape[-1],)
      mean = self.param("mean", nn.initializers.zeros, width)
      scale = self.param("scale", nn.initializers.ones, width)
      mean, scale = jax.lax.stop_gradient((mean, scale))
      x = (x - mean[None, :]) / scale[None, :]
    features = {"input": x}
    x = x.astype(self.dtype)
    for number, width in enumerate(self.hidden_layers, start=1):
      x = nn.Dense(width, dtype=self.dtype, name=f"hidden{number}")(x)
      x = nn.BatchNorm(
        use_running_average=not train,
        momentum=0.9,
        dtype=self.dtype,
        axis_name=self.axis_name,
        name=f"bn{number}",
      )(nn.relu(x))
      features[f"hidden{number}"] = x.astype(jnp.float32)
    return features


class Frozen(nn.Module):
  """A backbone of images whose features go on as vectors.

  What is trained on the features of a frozen network is, with that network in
  front, a network of images.

  Attributes:
    images: The backbone of images.
    vectors: What the features go through.
    layers: Feature layers of `images` that are read; () is the last one.
  """

  images: nn.Module
  vectors: nn.Module
  layers: tuple[str, ...] = ()

  def __call__(self, images: jax.Array, train: bool) -> dict[str, jax.Array]:
    """As `Vectors`, of the features of images float [B,H,W,3]."""
    features = self.images(images, False)
    names = self.layers or tuple(features)[-1:]
    joined = jnp.concatenate([features[name] for name in names], axis=-1)
    return self.vectors(joined, train)
