"""Random weights and images, the same for JAX and PyTorch."""

import math

import numpy as np

# Odd sizes where the network allows, to test borders.
IMAGE_SHAPES = {
  "resnet18": (2, 75, 64, 3),
  "resnet50": (2, 64, 75, 3),
  "efficientnet_lite0": (2, 64, 64, 3),
  "alexnet": (2, 195, 224, 3),
  "alexnet_caffe": (1, 227, 227, 3),
}
NUM_OUTPUTS = 10


def draw_images(backbone: str) -> np.ndarray:
  """Draw float32 [B,H,W,3] from a normal distribution."""
  rng = np.random.default_rng([7, len(backbone)])
  return rng.standard_normal(IMAGE_SHAPES[backbone], np.float32)


def draw_weights(shapes: dict[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
  """Draw name -> float32 array, scaled to keep activations near 1.

  Args:
    shapes: Name -> shape, as in torchvision.
  """
  weights = {}
  for index, name in enumerate(sorted(shapes)):
    rng = np.random.default_rng([11, index])
    shape = tuple(shapes[name])
    leaf = name.rpartition(".")[-1]
    if leaf == "num_batches_tracked":
      weights[name] = np.zeros(shape, np.int64)
    elif leaf == "running_var" or (leaf == "weight" and len(shape) == 1):
      weights[name] = rng.uniform(0.5, 1.5, shape).astype(np.float32)
    elif leaf == "weight":
      scale = math.sqrt(2 / math.prod(shape[1:]))
      weights[name] = rng.standard_normal(shape, np.float32) * np.float32(scale)
    else:
      weights[name] = rng.standard_normal(shape, np.float32) * np.float32(0.1)
  return weights
