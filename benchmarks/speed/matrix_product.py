"""Operations per second of a device in a matrix product."""

import math
import time

import jax
import jax.numpy as jnp


def measure(dtype: str, size: int = 0, repeats: int = 5) -> float:
  """Measure the matrix product of one device.

  Args:
    dtype: Type of both factors.
    size: Rows and columns; 0 chooses by platform.
    repeats: Products; the fastest counts.

  Returns:
    Operations per second.
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
