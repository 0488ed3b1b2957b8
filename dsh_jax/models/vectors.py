"""The backbone of items that are feature vectors: identity or a small MLP."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

NORMALIZATIONS = ("none", "l2", "standardise")


class Vectors(nn.Module):
  """Normalisation of vectors, and an optional MLP.

  Attributes:
    normalization: "none"; "l2", to length 1; or "standardise", to mean 0 and
      standard deviation 1 by the parameters `mean` and `scale`, which get no
      gradient.
    hidden_layers: Widths of dense layers, each followed by relu and BatchNorm.
    dtype, axis_name, remat: As in `hash_network.create_network`; remat has no
      effect.
  """

  normalization: str = "none"
  hidden_layers: tuple[int, ...] = ()
  dtype: Any = jnp.float32
  axis_name: str | None = None
  remat: bool = False

  @property
  def feature_layers(self) -> tuple[str, ...]:
    """The keys of the result of `__call__`, in order."""
    count = len(self.hidden_layers)
    return ("input", *(f"hidden{n}" for n in range(1, count + 1)))

  @nn.compact
  def __call__(self, vectors: jax.Array, train: bool) -> dict[str, jax.Array]:
    """Return the normalised vectors and the output of every dense layer.

    Args:
      vectors: float [B,F].
      train: Whether BatchNorm uses the batch's statistics.

    Returns:
      Layer -> features, float32 [B,F].
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
  """A frozen image backbone followed by the backbone trained on its features.

  Attributes:
    images: The image backbone.
    vectors: The backbone of its features.
    layers: Layers of `images` to read; () for the last one.
  """

  images: nn.Module
  vectors: nn.Module
  layers: tuple[str, ...] = ()

  def __call__(self, images: jax.Array, train: bool) -> dict[str, jax.Array]:
    """Return the features of `vectors` for images float [B,H,W,3]."""
    features = self.images(images, False)
    names = self.layers or tuple(features)[-1:]
    joined = jnp.concatenate([features[name] for name in names], axis=-1)
    return self.vectors(joined, train)
