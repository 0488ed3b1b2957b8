"""The programs of a run, traced for given devices from shapes alone."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections

from benchmarks.compile_ahead import reference
from dsh_jax import losses, parallel, steps
from dsh_jax.config import factories
from dsh_jax.retrieval import histogram_xla
from dsh_jax.runs import programs

_SPEC = jax.sharding.PartitionSpec
_NUM_STEPS = 1000  # Of the schedule, which is a constant of the program.


class Programs:
  """What a configuration makes devices do.

  Attributes:
    config: The configuration.
    num_classes: L.
    devices: All of them.
  """

  def __init__(
    self,
    config: ml_collections.ConfigDict,
    num_classes: int,
    devices: Sequence[jax.Device],
    num_features: int = 2048,
  ):
    """Create the parts of a run, without any array.

    Args:
      config: As in configs/default.py.
      num_classes: L.
      devices: Those of a `targets.Target`, or any others.
      num_features: F, where the trained network takes vectors.
    """
    self.config = config
    self.num_classes = num_classes
    self.devices = list(devices)
    self._mesh = parallel.DeviceMesh(config.parallel, self.devices)
    self._made = programs.load(config, self._mesh, num_classes, _NUM_STEPS)
    size = config.data.image_size
    self._crop = config.data.crop_size or size
    if factories.takes_vectors(config):
      self._stored = self._seen = (num_features,)
      self._dtype = jnp.float32
    else:
      self._stored, self._seen = (size, size, 3), (self._crop, self._crop, 3)
      self._dtype = jnp.uint8

  def train_step(self) -> jax.stages.Traced:
    """Trace one step of training."""
    count = self.config.train.batch_size
    return self._made.train_steps.trace(
      self._replicated(self._state()),
      self._sharded((1, count, *self._stored), 1, self._dtype),
      self._sharded((1, count, self.num_classes), 1, jnp.uint8),
      self._replicated(programs.numbers(self.config)),
    )

  def encode_step(self, batch_size: int) -> jax.stages.Traced:
    """Trace the encoding of one batch of `batch_size` images."""
    state = self._state()
    return self._made.encoder.encode.trace(
      self._replicated((state.params, state.batch_stats)),
      self._sharded((batch_size, *self._stored), 0, self._dtype),
    )

  def loss(self, name: str, batch_size: int) -> jax.stages.Traced:
    """Trace value and gradient of a loss of the global batch.

    Args:
      name: A key of `losses.LOSSES`.
      batch_size: B.
    """
    method = losses.make_loss(
      name, num_bits=self.config.bits, num_classes=self.num_classes
    )

    def objective(params, logits, labels):
      codes = method.activation(logits, 0)
      return method(params, codes, labels, step=0)[0]

    params = jax.eval_shape(method.init, jax.random.key(0))
    mesh = self._auto_mesh()
    rows = jax.sharding.NamedSharding(mesh, _SPEC(parallel.AXIS))
    shape = (batch_size, method.num_outputs)
    return self._jit(jax.value_and_grad(objective, argnums=(0, 1))).trace(
      self._on_all(params),
      jax.ShapeDtypeStruct(shape, jnp.float32, sharding=rows),
      jax.ShapeDtypeStruct(
        (batch_size, self.num_classes), jnp.uint8, sharding=rows
      ),
    )

  def histogram(
    self, num_queries: int, most_shared: int, chunk_rows: int
  ) -> jax.stages.Traced:
    """Trace the counting of one chunk of the database.

    Args:
      num_queries: Q.
      most_shared: S.
      chunk_rows: Items of the database, over all devices.
    """
    platform = self.devices[0].platform
    step, split, whole = histogram_xla.make_step(
      tuple(self.devices), histogram_xla.default_binning(platform)
    )
    count, bits = len(self.devices), self.config.bits
    size = -(-chunk_rows // count)
    words, sets = (-(-n // 32) for n in (bits, self.num_classes))

    def shape(dtype, sharding, *dims):
      return jax.ShapeDtypeStruct(dims, dtype, sharding=sharding)

    return step.trace(
      shape(jnp.int32, split, count, num_queries, bits + 1, most_shared + 1),
      shape(jnp.uint32, whole, words, num_queries),
      shape(jnp.uint32, whole, sets, num_queries),
      shape(jnp.uint32, split, count, words, size),
      shape(jnp.uint32, split, count, sets, size),
      shape(jnp.bool_, split, count, size),
    )

  def reference_step(self) -> jax.stages.Traced:
    """Trace a step of the plain classifier, on as many images."""
    dtype = jnp.dtype(self.config.dtype)
    count = self.config.train.batch_size
    size = self._crop
    state = jax.eval_shape(
      lambda key: reference.create_state(dtype, size, key), jax.random.key(0)
    )
    step = reference.make_train_step(dtype, parallel.AXIS)
    rows = _SPEC(parallel.AXIS)
    mapped = jax.shard_map(
      step,
      mesh=self._auto_mesh(),
      in_specs=(_SPEC(), rows, rows),
      out_specs=_SPEC(),
      check_vma=False,
    )
    rows = jax.sharding.NamedSharding(self._auto_mesh(), rows)
    return self._jit(mapped, donate_argnums=0).trace(
      self._on_all(state),
      jax.ShapeDtypeStruct((count, size, size, 3), dtype, sharding=rows),
      jax.ShapeDtypeStruct((count,), jnp.int32, sharding=rows),
    )

  def _jit(self, function, **options):
    """Compile with the options of a run, see `DeviceMesh.parallelize`."""
    return jax.jit(
      function,
      compiler_options=parallel.compiler_options(self.devices[0]),
      **options,
    )

  def _state(self) -> Any:
    made = self._made
    return jax.eval_shape(
      lambda key: steps.create_state(
        made.network, made.method, made.tx, self._seen, key
      ),
      jax.random.key(0),
    )

  def _auto_mesh(self):
    return jax.make_mesh(
      (len(self.devices),),
      (parallel.AXIS,),
      axis_types=(jax.sharding.AxisType.Auto,),
      devices=self.devices,
    )

  def _on_all(self, tree):
    everywhere = jax.sharding.NamedSharding(self._auto_mesh(), _SPEC())
    return jax.tree.map(
      lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=everywhere),
      tree,
    )

  def _replicated(self, tree):
    """Return shapes as `parallel.DeviceMesh.replicate` copies a tree."""
    if self.config.parallel == "jit":
      return self._on_all(tree)
    count = len(self.devices)
    return jax.tree.map(
      lambda x: jax.ShapeDtypeStruct((count, *x.shape), x.dtype), tree
    )

  def _sharded(self, shape, axis, dtype):
    """Shape of a batch as `parallel.DeviceMesh.shard_batch` spreads them."""
    count = len(self.devices)
    if self.config.parallel == "jit":
      spec = _SPEC(*[None] * axis, parallel.AXIS)
      sharding = jax.sharding.NamedSharding(self._auto_mesh(), spec)
      return jax.ShapeDtypeStruct(shape, dtype, sharding=sharding)
    shape = (count, *shape[:axis], shape[axis] // count, *shape[axis + 1 :])
    return jax.ShapeDtypeStruct(shape, dtype)
