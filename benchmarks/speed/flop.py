"""How many operations a function has, and how many a device can do."""

import math
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import extend


def of_products(function: Callable, *arguments: Any) -> int:
  """Counts the operations of convolutions and matrix products.

  Args:
    function: Traced, not run.
    *arguments: Arrays or `jax.ShapeDtypeStruct`s.

  Returns:
    Additions plus multiplications; nothing elementwise.
  """
  return _count(jax.make_jaxpr(function)(*arguments).jaxpr)


def _count(jaxpr) -> int:
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
      total += 2 * depth * equation.outvars[0].aval.size
    inside = map(_count, extend.core.jaxprs_in_params(equation.params))
    if name == "cond":  # The branches of platforms do the same.
      total += max(inside)
    else:
      repeats = equation.params["length"] if name == "scan" else 1
      total += repeats * sum(inside)
  return total


def peak(dtype: str, size: int = 0, repeats: int = 5) -> float:
  """Measures the matrix product of one device.

  Args:
    dtype: Type of both factors.
    size: Rows and columns; 0 chooses by platform.
    repeats: Products; the fastest counts.

  Returns:
    Operations a second.
  """
  if not size:
    size = 1024 if jax.default_backend() == "cpu" else 8192
  matrix = jnp.ones((size, size), dtype)
  product = jax.jit(lambda x: x @ x)
  fastest = math.inf
  for _ in range(repeats + 1):
    started = time.perf_counter()
    product(matrix).block_until_ready()
    fastest = min(fastest, time.perf_counter() - started)
  return 2 * size**3 / fastest
