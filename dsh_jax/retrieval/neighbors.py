"""Exact search by Hamming distance: the k nearest, or all within a radius."""

import importlib
from collections.abc import Sequence

import jax
import numpy as np
from numpy.typing import ArrayLike

from dsh_jax import errors
from dsh_jax.retrieval import histogram

# Modules with functions `top_k` and `within_radius`, imported on first use.
BACKENDS = {
  "numba": "dsh_jax.retrieval.neighbors_numba",
  "xla": "dsh_jax.retrieval.neighbors_xla",
}


def top_k(
  queries: ArrayLike,
  database: ArrayLike,
  k: int,
  *,
  backend: str | None = None,
  devices: Sequence[jax.Device] | None = None,
  chunk_rows: int | None = None,
) -> tuple[np.ndarray, np.ndarray]:
  """Find the k database items nearest to each query.

  The database is read in chunks, so it may be a memory-mapped file.

  Args:
    queries: uint32 [Q, words] from `codes.pack`, Q >= 1.
    database: uint32 [N, words] with the same number of bits.
    k: 1 to N.
    backend: "numba", "xla", or None for the default of the platform; all
      return the same result.
    devices: For "xla", devices that share the database; None takes all local
      ones.
    chunk_rows: Database items at a time, >= 1; affects only the speed.

  Returns:
    distances: int32 [Q, k], rising.
    indices: int64 [Q, k], rows of the database; ties by lowest row.
  """
  queries, database = _check(queries, database, chunk_rows)
  if isinstance(k, bool) or not isinstance(k, (int, np.integer)):
    raise errors.UserError(f"k is {k!r}; give a whole number.")
  if not 1 <= k <= len(database):
    raise errors.UserError(
      f"k is {k}; allowed: 1 to {len(database)}, the size of the database."
    )
  module, options = _backend(backend, devices)
  return module.top_k(queries, database, int(k), chunk_rows, **options)


def within_radius(
  queries: ArrayLike,
  database: ArrayLike,
  radius: int,
  *,
  backend: str | None = None,
  devices: Sequence[jax.Device] | None = None,
  chunk_rows: int | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Find all database items within a Hamming radius of each query.

  Arguments are as for `top_k`, with the largest distance, `radius` >= 0.

  Returns:
    offsets: int64 [Q+1]; the items of query q are offsets[q] : offsets[q+1].
    distances: int32 [offsets[-1]], rising for each query.
    indices: int64 [offsets[-1]], rows of the database; ties by lowest row.
  """
  queries, database = _check(queries, database, chunk_rows)
  if isinstance(radius, bool) or not isinstance(radius, (int, np.integer)):
    raise errors.UserError(f"The radius is {radius!r}; give a whole number.")
  if radius < 0:
    raise errors.UserError(f"The radius is {radius}; give 0 or more.")
  module, options = _backend(backend, devices)
  # No distance exceeds the bits of the words.
  radius = min(int(radius), 32 * queries.shape[1])
  offsets, distances, rows = module.within_radius(
    queries, database, radius, chunk_rows, **options
  )
  query = np.repeat(np.arange(len(queries)), np.diff(offsets))
  # Rows already rise; a stable sort keeps them so among equal distances.
  order = np.argsort(query * (radius + 1) + distances, kind="stable")
  return offsets, distances[order], rows[order]


def _backend(name: str | None, devices: Sequence[jax.Device] | None):
  """Return the module of a backend and its own options."""
  name = name or histogram.default_backend()
  if name not in BACKENDS:
    raise errors.unknown("backend", name, BACKENDS, "backend")
  options = {"devices": devices} if name == "xla" else {}
  return importlib.import_module(BACKENDS[name]), options


def _check(
  queries: ArrayLike, database: ArrayLike, chunk_rows: int | None
) -> tuple[np.ndarray, np.ndarray]:
  """Return both sets of codes as checked arrays."""
  arrays = []
  for packed, kind in ((queries, "query"), (database, "database")):
    packed = np.asarray(packed)
    if packed.ndim != 2 or packed.dtype != np.uint32 or not packed.shape[1]:
      raise errors.UserError(
        f"The {kind} codes are {packed.dtype} of shape {packed.shape}; give"
        " packed uint32 [items, words], as codes.pack makes them."
      )
    if len(packed) == 0:
      raise errors.UserError(f"There are no {kind} items; give at least one.")
    arrays.append(packed)
  widths = [packed.shape[1] for packed in arrays]
  if widths[0] != widths[1]:
    raise errors.UserError(
      f"Query codes have {widths[0]} words an item, database codes"
      f" {widths[1]}; both need the same number of bits."
    )
  if chunk_rows is not None and chunk_rows < 1:
    raise errors.UserError(f"chunk_rows is {chunk_rows}; allowed: 1 or more.")
  return arrays[0], arrays[1]
