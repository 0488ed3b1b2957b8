"""Baselines without training: classical hashing of features.

A `fit_...` function takes finite float64 features [N,F] of the training images,
the number of bits K and the seed of the method's random numbers, and returns an
encoder of any features. It is NumPy on the host.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike

from dsh_jax import errors
from dsh_jax.retrieval import real_valued

# features float [N,F] -> relaxed codes float64 [N,K]; bit = value > 0.
Encoder = Callable[[ArrayLike], np.ndarray]

_ITQ_ITERATIONS = 50


def fit_random(features: np.ndarray, num_bits: int, seed: int = 0) -> Encoder:
  """Return an encoder of random bits, new ones in every call."""
  del features
  rng = np.random.default_rng(seed)

  def encode(features):
    return rng.choice([-1.0, 1.0], (len(np.asarray(features)), num_bits))

  return encode


def fit_lsh(features: np.ndarray, num_bits: int, seed: int = 0) -> Encoder:
  """Return an encoder by signs of random projections of centred features.

  Source: Charikar, "Similarity estimation techniques from rounding algorithms",
  STOC 2002.
  Differences: features are centred on the training mean, because the features
  of a ReLU network lie in one orthant.
  """
  mean = features.mean(axis=0)
  rng = np.random.default_rng(seed)
  directions = rng.standard_normal((features.shape[1], num_bits))
  return lambda x: _centre(x, mean) @ directions


def fit_pca_sign(features: np.ndarray, num_bits: int, seed: int = 0) -> Encoder:
  """Return an encoder by signs of the K leading principal components.

  Source: the PCA-Direct baseline of Gong and Lazebnik, CVPR 2011.
  Differences: with K > F, the further bits are signs of random rotations of
  all components.
  """
  mean, axes = _principal_axes(features, num_bits)
  rng = np.random.default_rng(seed)
  while axes.shape[1] < num_bits:
    missing = num_bits - axes.shape[1]
    rotation = _random_rotation(rng, features.shape[1])
    axes = np.concatenate([axes, rotation[:, :missing]], axis=1)
  return lambda x: _centre(x, mean) @ axes


def fit_itq(features: np.ndarray, num_bits: int, seed: int = 0) -> Encoder:
  """Return an encoder by iterative quantisation, a rotation of PCA.

  Alternates B = sign(V R) and the rotation R closest to it, 50 times, from a
  random R; V are the K leading principal components.

  Source: Gong and Lazebnik, "Iterative Quantization: A Procrustean Approach to
  Learning Binary Codes", CVPR 2011.
  Differences: with K > F the components are padded with zeros, so that the
  K x K rotation spreads F directions over K bits.
  """
  mean, axes = _principal_axes(features, num_bits)
  missing = num_bits - axes.shape[1]
  axes = np.pad(axes, ((0, 0), (0, missing)))
  projected = (features - mean) @ axes
  rotation = _random_rotation(np.random.default_rng(seed), num_bits)
  for _ in range(_ITQ_ITERATIONS):
    signs = np.where(projected @ rotation > 0, 1.0, -1.0)
    left, _, right = np.linalg.svd(projected.T @ signs)
    rotation = left @ right
  return lambda x: _centre(x, mean) @ axes @ rotation


def fit_spectral(features: np.ndarray, num_bits: int, seed: int = 0) -> Encoder:
  """Return an encoder by Spectral Hashing, without random numbers.

  On component j, which spans [a_j, b_j] on the training features, mode m is
  sin(pi/2 + m pi (x - a_j)/(b_j - a_j)). The K pairs (j, m), m >= 1, of the
  smallest frequencies m/(b_j - a_j) give the bits.

  Source: Weiss, Torralba and Fergus, "Spectral Hashing", NIPS 2008.
  Differences: none known.
  """
  del seed
  mean, axes = _principal_axes(features, num_bits)
  projected = (features - mean) @ axes
  low = projected.min(axis=0)
  span = np.maximum(projected.max(axis=0) - low, 1e-12)
  modes = np.arange(1, num_bits + 1)
  frequencies = modes[None, :] / span[:, None]
  order = np.argsort(frequencies, axis=None, kind="stable")[:num_bits]
  component, mode = np.unravel_index(order, frequencies.shape)

  def encode(x):
    position = (_centre(x, mean) @ axes - low) / span
    phase = np.pi * modes[mode] * position[:, component]
    return np.sin(np.pi / 2 + phase)

  return encode


METHODS: dict[str, Callable[..., Encoder]] = {
  "random": fit_random,
  "lsh": fit_lsh,
  "pca_sign": fit_pca_sign,
  "itq": fit_itq,
  "spectral": fit_spectral,
}


def fit(
  name: str, features: ArrayLike, num_bits: int, seed: int = 0
) -> Encoder:
  """Fit a method of `METHODS` to real features [N,F]; K >= 1."""
  if name not in METHODS:
    raise errors.unknown("unsupervised method", name, METHODS, "the method")
  if num_bits < 1:
    raise errors.UserError(
      f"The number of bits is {num_bits}; give 1 or more. Change config.bits."
    )
  return METHODS[name](real_valued.check_features(features), num_bits, seed)


def _principal_axes(
  features: np.ndarray, num_bits: int
) -> tuple[np.ndarray, np.ndarray]:
  """Return the mean [F] and the min(K,F) leading axes [F,min(K,F)]."""
  mean = features.mean(axis=0)
  centred = features - mean
  _, axes = np.linalg.eigh(centred.T @ centred)
  return mean, axes[:, ::-1][:, :num_bits]


def _random_rotation(rng: np.random.Generator, size: int) -> np.ndarray:
  """Return a uniformly random orthogonal matrix [size,size]."""
  q, r = np.linalg.qr(rng.standard_normal((size, size)))
  return q * np.sign(np.diag(r))


def _centre(features: ArrayLike, mean: np.ndarray) -> np.ndarray:
  """Return features minus the training mean, float64 [N,F]."""
  return real_valued.check_features(features, len(mean)) - mean
