"""Times the XLA paths on an accelerator and compares them with its peak."""

import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from dsh_jax.retrieval import histogram_xla, neighbors_xla


def seconds_of(call: Callable[[], object], repeats: int = 5) -> float:
  """Return the best time of some calls, after one to warm up."""
  best = np.inf
  for turn in range(repeats + 1):
    start = time.perf_counter()
    jax.block_until_ready(call())
    if turn:
      best = min(best, time.perf_counter() - start)
  return best


def ceilings(size: int) -> tuple[float, float]:
  """Measure bytes/s of a copy and flop/s of a bfloat16 matrix product.

  Args:
    size: Rows and columns of the square matrices.
  """
  matrix = jnp.ones((size, size), jnp.bfloat16)
  copy = jax.jit(lambda x: x + 1)
  product = jax.jit(lambda x: x @ x)
  num_bytes = 2 * matrix.nbytes
  return (
    num_bytes / seconds_of(lambda: copy(matrix)),
    2 * size**3 / seconds_of(lambda: product(matrix)),
  )


def _words(rng: np.random.Generator, num_items: int, width: int) -> np.ndarray:
  return rng.integers(0, 2**32, (num_items, width), np.uint32)


def report(quick: bool = False) -> list[str]:
  """Return the section about the accelerator, or a line that there is none.

  Args:
    quick: Use tiny sizes on any device, to check that it runs.
  """
  if jax.default_backend() == "cpu" and not quick:
    return ["## Accelerator", "", "None at hand: this is the CPU.", ""]
  num_queries, num_items = (16, 500) if quick else (2100, 193734)
  rng = np.random.default_rng(0)
  copied, multiplied = ceilings(128 if quick else 16384)
  lines = [
    "## Accelerator",
    "",
    f"{jax.devices()[0].device_kind}: copies {copied / 1e12:.2f} TB/s,"
    f" multiplies {multiplied / 1e12:.0f} TFLOP/s in bfloat16. All times"
    " include the way of the input to the device and of the result back.",
    "",
  ]
  num_pairs = num_queries * num_items
  # Label sets of one to four labels.
  queries, database = _words(rng, num_queries, 2), _words(rng, num_items, 2)
  query_sets = rng.choice(np.uint32([1, 3, 7, 15, 17]), (num_queries, 1))
  sets = rng.choice(np.uint32([1, 3, 7, 15, 17]), (num_items, 1))
  for binning in ("scatter", "onehot"):

    def add(binning=binning):
      counts = np.zeros((num_queries, 65, 5), np.int64)
      histogram_xla.add(
        queries, query_sets, database, sets, counts, binning=binning
      )
      return counts

    seconds = seconds_of(add)
    lines.append(
      f"- joint histogram {num_queries:,} x {num_items:,}, 64 bits, {binning}:"
      f" {seconds * 1e3:.1f} ms, {num_pairs / seconds / 1e9:.1f} G pairs/s"
    )
  num_queries, num_items = (16, 500) if quick else (10000, 10_000_000)
  queries, database = _words(rng, num_queries, 2), _words(rng, num_items, 2)
  seconds = seconds_of(lambda: neighbors_xla.top_k(queries, database, 100), 2)
  rate = num_queries * num_items / seconds
  lines.append(
    f"- top_k k=100, {num_queries:,} x {num_items:,}, 64 bits: {seconds:.2f} s,"
    f" {rate / 1e9:.1f} G pairs/s"
  )
  return [*lines, ""]
