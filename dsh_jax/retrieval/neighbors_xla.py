"""Nearest neighbours in XLA, with the database split over devices.

Every device keeps the nearest items of the rows it has seen; the host merges
the lists of the devices at the end.
"""

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from dsh_jax.retrieval import histogram_xla

# A distance and a position in the chunk share one int32: 257 * 2^22 < 2^31.
MAX_ROWS_PER_DEVICE = 1 << 22
_AXIS = histogram_xla.AXIS
_FAR = np.iinfo(np.int32).max


def _distances(queries: jax.Array, database: jax.Array) -> jax.Array:
  """Return Hamming distances int32 [Q, n] of [words, Q] and [words, n]."""
  return histogram_xla.count_bits(queries[:, :, None] ^ database[:, None, :])


@functools.lru_cache(maxsize=8)
def _make_top_k_step(devices: tuple[jax.Device, ...], k: int):
  """Make the compiled step that merges a chunk into the devices' lists."""

  def step(distances, rows, queries, database, first_row, last_row):
    size = database.shape[2]
    positions = jnp.arange(size, dtype=jnp.int32)
    start = first_row + size * jax.lax.axis_index(_AXIS).astype(jnp.int32)
    # Order by distance, then by position; padding comes last.
    keys = _distances(queries, database[0]) * size + positions[None, :]
    keys = jnp.where((start + positions < last_row)[None, :], keys, _FAR)
    keys = -jax.lax.top_k(-keys, min(k, size))[0]
    far = keys == _FAR
    new_distances = jnp.where(far, _FAR, keys // size)
    new_rows = jnp.where(far, _FAR, start + keys % size)
    merged = jax.lax.sort(
      (
        jnp.concatenate([distances[0], new_distances], axis=1),
        jnp.concatenate([rows[0], new_rows], axis=1),
      ),
      num_keys=2,
    )
    return merged[0][None, :, :k], merged[1][None, :, :k]

  split, whole = PartitionSpec(_AXIS), PartitionSpec()
  mapped = jax.shard_map(
    step,
    mesh=histogram_xla.make_mesh(devices),
    in_specs=(split, split, whole, split, whole, whole),
    out_specs=(split, split),
    check_vma=False,
  )
  return jax.jit(mapped, donate_argnums=(0, 1))


@functools.lru_cache(maxsize=8)
def _make_distance_step(devices: tuple[jax.Device, ...]):
  """Make the compiled step that computes all distances of a chunk."""
  split, whole = PartitionSpec(_AXIS), PartitionSpec()
  return jax.jit(
    jax.shard_map(
      lambda queries, database: _distances(queries, database[0])[None],
      mesh=histogram_xla.make_mesh(devices),
      in_specs=(whole, split),
      out_specs=split,
      check_vma=False,
    )
  )


def _chunks(queries, database, chunk_rows, devices):
  """Yield the first row of each chunk and its words [P, words, size]."""
  num_devices = len(devices)
  size = histogram_xla.rows_per_device(
    len(database), len(queries), num_devices, chunk_rows
  )
  size = max(1, min(size, MAX_ROWS_PER_DEVICE))
  split = NamedSharding(histogram_xla.make_mesh(devices), PartitionSpec(_AXIS))
  for start in range(0, len(database), num_devices * size):
    rows = database[start : start + num_devices * size]
    words = histogram_xla.split_rows(rows, num_devices, size)
    yield start, jax.device_put(words, split)


def top_k(
  queries: np.ndarray,
  database: np.ndarray,
  k: int,
  chunk_rows: int | None = None,
  devices: Sequence[jax.Device] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
  """Find the k nearest of at most 2^31 - 1 items; see `neighbors.top_k`."""
  devices = tuple(devices if devices is not None else jax.local_devices())
  split = NamedSharding(histogram_xla.make_mesh(devices), PartitionSpec(_AXIS))
  whole = NamedSharding(histogram_xla.make_mesh(devices), PartitionSpec())
  words = jax.device_put(np.ascontiguousarray(queries.T), whole)
  empty = np.full((len(devices), len(queries), k), _FAR, np.int32)
  distances = jax.device_put(empty, split)
  rows = jax.device_put(empty, split)
  step = _make_top_k_step(devices, k)
  last_row = np.int32(len(database))
  for start, chunk in _chunks(queries, database, chunk_rows, devices):
    distances, rows = step(
      distances, rows, words, chunk, np.int32(start), last_row
    )
  # [P, Q, k] -> [Q, P k]
  distances, rows = (
    np.asarray(x).transpose(1, 0, 2).reshape(len(queries), -1)
    for x in (distances, rows)
  )
  order = np.lexsort((rows, distances), axis=1)[:, :k]
  return (
    np.take_along_axis(distances, order, axis=1),
    np.take_along_axis(rows, order, axis=1).astype(np.int64),
  )


def within_radius(
  queries: np.ndarray,
  database: np.ndarray,
  radius: int,
  chunk_rows: int | None = None,
  devices: Sequence[jax.Device] | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """List the items within a radius in row order; see `neighbors`."""
  devices = tuple(devices if devices is not None else jax.local_devices())
  whole = NamedSharding(histogram_xla.make_mesh(devices), PartitionSpec())
  words = jax.device_put(np.ascontiguousarray(queries.T), whole)
  step = _make_distance_step(devices)
  chunks = []
  for start, chunk in _chunks(queries, database, chunk_rows, devices):
    near = np.asarray(step(words, chunk)).transpose(1, 0, 2)
    near = near.reshape(len(queries), -1)[:, : len(database) - start]
    query, column = np.nonzero(near <= radius)
    chunks.append((query, near[query, column], column + start))
  query, distances, rows = map(np.concatenate, zip(*chunks, strict=True))
  order = np.argsort(query, kind="stable")
  counts = np.bincount(query, minlength=len(queries))
  offsets = np.concatenate([[0], np.cumsum(counts)])
  return offsets, distances[order].astype(np.int32), rows[order]
