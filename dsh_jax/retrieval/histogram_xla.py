"""The joint histogram in XLA, on any accelerator and number of devices.

Every device adds its share of each chunk to its own integer counts, and the
host sums them.
"""

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec

AXIS = "devices"
# Pairs that a device holds at a time, about 8 bytes each.
PAIRS_PER_CHUNK = 1 << 24
# Counts are int32 on the device, so the host fetches them before they overflow.
MAX_ROWS_PER_FETCH = 1 << 30


def default_binning(platform: str) -> str:
  """Return how to bin pairs on a `jax.Device.platform`.

  A TPU has a matrix unit but no fast scatter. On a GPU the choice is not
  measured; `benchmarks/speed/retrieval_speed.py` times both.
  """
  return "onehot" if platform == "tpu" else "scatter"


def count_bits(words: jax.Array) -> jax.Array:
  """Count bits along the first axis: uint32 [words, ...] -> int32 [...]."""
  return jax.lax.population_count(words).astype(jnp.int32).sum(axis=0)


def _pairs(queries, query_sets, database, database_sets):
  """Return distances and overlaps, int32 [Q, n], of [words, Q or n]."""
  distances = count_bits(queries[:, :, None] ^ database[:, None, :])
  overlaps = count_bits(query_sets[:, :, None] & database_sets[:, None, :])
  return distances, overlaps


def _scatter(counts, queries, query_sets, database, database_sets, valid):
  num_queries, num_distances, num_overlaps = counts.shape
  distances, overlaps = _pairs(queries, query_sets, database, database_sets)
  # Padding goes to a bin that is dropped.
  bins = distances * num_overlaps + overlaps
  bins = jnp.where(valid[None, :], bins, num_distances * num_overlaps)
  rows = jax.lax.broadcasted_iota(jnp.int32, bins.shape, 0)
  flat = counts.reshape(num_queries, -1).at[rows, bins].add(1, mode="drop")
  return flat.reshape(counts.shape)


def _onehot(counts, queries, query_sets, database, database_sets, valid):
  _, num_distances, num_overlaps = counts.shape

  def one_query(query):
    words, sets = query
    distances, overlaps = _pairs(
      words[:, None], sets[:, None], database, database_sets
    )
    # bfloat16 holds 0 and 1 exactly; float32 sums are exact below 2^24.
    by_distance = jax.nn.one_hot(
      distances[0], num_distances, dtype=jnp.bfloat16
    )
    by_overlap = jax.nn.one_hot(overlaps[0], num_overlaps, dtype=jnp.bfloat16)
    by_overlap = by_overlap * valid[:, None].astype(jnp.bfloat16)
    return jnp.einsum(
      "nd,ns->ds", by_distance, by_overlap, preferred_element_type=jnp.float32
    ).astype(jnp.int32)

  return counts + jax.lax.map(
    one_query, (queries.T, query_sets.T), batch_size=8
  )


_BINNING = {"scatter": _scatter, "onehot": _onehot}


@functools.lru_cache(maxsize=8)
def make_mesh(devices: tuple[jax.Device, ...]) -> jax.sharding.Mesh:
  """Return the mesh over devices, with the one axis `AXIS`."""
  return jax.make_mesh(
    (len(devices),), (AXIS,), axis_types=(AxisType.Auto,), devices=devices
  )


@functools.lru_cache(maxsize=8)
def make_step(devices: tuple[jax.Device, ...], binning: str):
  """Make the compiled step over `devices` and its two shardings."""
  mesh = make_mesh(devices)
  split = PartitionSpec(AXIS)
  whole = PartitionSpec()
  count = _BINNING[binning]

  def step(counts, queries, query_sets, database, database_sets, valid):
    added = count(
      counts[0], queries, query_sets, database[0], database_sets[0], valid[0]
    )
    return added[None]

  mapped = jax.shard_map(
    step,
    mesh=mesh,
    in_specs=(split, whole, whole, split, split, split),
    out_specs=split,
    check_vma=False,
  )
  step = jax.jit(mapped, donate_argnums=0)
  return step, NamedSharding(mesh, split), NamedSharding(mesh, whole)


def rows_per_device(
  num_items: int, num_queries: int, num_devices: int, chunk_rows: int | None
) -> int:
  """Return the rows of a chunk on each device; None takes as many as fit."""
  if chunk_rows is None:
    chunk_rows = num_devices * max(256, PAIRS_PER_CHUNK // num_queries)
  return min(-(-chunk_rows // num_devices), -(-num_items // num_devices))


def split_rows(rows: np.ndarray, num_devices: int, size: int) -> np.ndarray:
  """Pad and split rows [n, words] over devices: [P, words, size]."""
  padded = np.zeros((num_devices * size, rows.shape[1]), rows.dtype)
  padded[: len(rows)] = rows
  return padded.reshape(num_devices, size, -1).transpose(0, 2, 1)


def add(
  queries: np.ndarray,
  query_sets: np.ndarray,
  database: np.ndarray,
  database_sets: np.ndarray,
  counts: np.ndarray,
  chunk_rows: int | None = None,
  devices: Sequence[jax.Device] | None = None,
  binning: str | None = None,
) -> None:
  """Add every pair to `counts`; see `histogram_numba.add`.

  At most 2^24 of `chunk_rows` are on a device. `devices` are all local ones by
  default; `binning` is "scatter" or "onehot", by default that of the platform.
  """
  devices = tuple(devices if devices is not None else jax.local_devices())
  binning = binning or default_binning(devices[0].platform)
  num_devices = len(devices)
  size = rows_per_device(len(database), len(queries), num_devices, chunk_rows)
  size = max(1, min(size, 1 << 24))
  step, split, whole = make_step(devices, binning)
  device_queries = jax.device_put(np.ascontiguousarray(queries.T), whole)
  device_sets = jax.device_put(np.ascontiguousarray(query_sets.T), whole)
  zeros = np.zeros((num_devices, *counts.shape), np.int32)
  pending = jax.device_put(zeros, split)
  pending_rows = 0
  for start in range(0, len(database), num_devices * size):
    rows = slice(start, start + num_devices * size)
    valid = np.arange(num_devices * size) < len(database) - start
    if pending_rows + num_devices * size > MAX_ROWS_PER_FETCH:
      counts += np.asarray(pending).sum(axis=0, dtype=np.int64)
      pending = jax.device_put(zeros, split)
      pending_rows = 0
    pending = step(
      pending,
      device_queries,
      device_sets,
      jax.device_put(split_rows(database[rows], num_devices, size), split),
      jax.device_put(split_rows(database_sets[rows], num_devices, size), split),
      jax.device_put(valid.reshape(num_devices, size), split),
    )
    pending_rows += num_devices * size
  counts += np.asarray(pending).sum(axis=0, dtype=np.int64)
