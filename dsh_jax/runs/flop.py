"""Operations in a training step, and the peak operations/s of devices."""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import extend

# Dense bfloat16 operations a second of one JAX device, from the makers' data
# sheets. The longest name that begins `device_kind` holds. A JAX device is a
# chip, but half a chip of TPU v2, v3 and 7x.
PEAKS = {
  "TPU v2": 22.5e12,
  "TPU v3": 61.5e12,
  "TPU v4": 275e12,
  "TPU v5 lite": 197e12,
  "TPU v5e": 197e12,
  "TPU v5": 459e12,
  "TPU v6 lite": 918e12,
  "TPU v6e": 918e12,
  "TPU7x": 1153.5e12,
  "Tesla V100": 125e12,
  "Tesla T4": 65e12,
  "NVIDIA A10": 125e12,
  "NVIDIA A10G": 70e12,
  "NVIDIA A100": 312e12,
  "NVIDIA L4": 121e12,
  "NVIDIA L40": 181e12,
  "NVIDIA L40S": 362e12,
  "NVIDIA H100": 989e12,
  "NVIDIA H100 PCIe": 756e12,
  "NVIDIA H100 NVL": 835e12,
  "NVIDIA H200": 989e12,
  "NVIDIA B200": 2250e12,
}


def peak(device_kind: str) -> float | None:
  """Return a device's peak bfloat16 operations per second.

  Args:
    device_kind: As in `jax.Device.device_kind`.

  Returns:
    None if `PEAKS` does not have it.
  """
  known = [name for name in PEAKS if device_kind.startswith(name)]
  return PEAKS[max(known, key=len)] if known else None


def of_products(function: Callable, *arguments: Any) -> int:
  """Count the operations of convolutions and matrix products.

  Args:
    function: Traced, not run.
    *arguments: Arrays or `jax.ShapeDtypeStruct`s.

  Returns:
    Additions plus multiplications; nothing elementwise.
  """
  return of_jaxpr(jax.make_jaxpr(function)(*arguments).jaxpr)


def of_step(network: nn.Module, variables: Any, shape: Sequence[int]) -> int:
  """Count the operations of a training step's model, without the loss.

  Args:
    network: Images -> logits.
    variables: Of the network.
    shape: [B,H,W,3], of the images that it sees.

  Returns:
    Three times those of the forward pass, as the backward pass has a product
    for each of the two factors. Recomputation does not count.
  """
  forward = functools.partial(network.apply, train=False)
  images = jax.ShapeDtypeStruct(tuple(shape), jnp.float32)
  return 3 * of_products(forward, variables, images)


def of_jaxpr(jaxpr: extend.core.Jaxpr) -> int:
  """Count as `of_products`, over all devices."""
  total = 0
  for equation in jaxpr.eqns:
    name = equation.primitive.name
    if name == "dot_general":
      (contracted, _), _ = equation.params["dimension_numbers"]
      shape = equation.invars[0].aval.shape
      depth = math.prod(shape[axis] for axis in contracted)
      total += 2 * depth * equation.outvars[0].aval.size
    elif name == "conv_general_dilated":
      kernel = equation.invars[1].aval.shape
      spec = equation.params["dimension_numbers"].rhs_spec
      depth = math.prod(kernel) // kernel[spec[0]]
      products = depth * equation.outvars[0].aval.size
      # The gradient of a stride multiplies the zeros between its values.
      total += 2 * products // math.prod(equation.params["lhs_dilation"])
    inside = map(of_jaxpr, extend.core.jaxprs_in_params(equation.params))
    if name == "cond":  # Branches for platforms do the same work.
      total += max(inside)
    else:
      repeats = equation.params["length"] if name == "scan" else 1
      if name == "shard_map":
        repeats = equation.params["mesh"].size
      total += repeats * sum(inside)
  return total
