"""Every training step lowers for accelerators; none is needed."""

import jax
import numpy as np
import pytest
import traced
from jax import export

from configs import digits, methods

PLATFORMS = ("tpu", "cuda")


def make_steps(method, backbone="tiny", dtype="float32", axis_name=None):
  config = digits.get_config(f"method={method},bits=16,backbone={backbone}")
  config.data.image_size, config.data.flip = 16, True
  config.dtype, config.train.batch_size = dtype, 16
  return traced.make_steps(config, num_classes=5, axis_name=axis_name)


def lower(*options):
  step, _, *arguments = make_steps(*options)
  return export.export(jax.jit(step), platforms=PLATFORMS)(*arguments)


# Presets of released code differ only in data and backbone.
@pytest.mark.parametrize(
  "method", [m for m in methods.METHODS if not m.endswith("_release")]
)
def test_step_of_every_method_lowers(method):
  assert lower(method).platforms == PLATFORMS


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_step_of_a_residual_network_lowers(dtype):
  assert lower("idhn", "resnet18", dtype).platforms == PLATFORMS


def test_steps_of_one_device_among_several_lower():
  step, encode_step, state, images, labels = make_steps(
    "idhn", "resnet18", "float32", "batch"
  )
  mesh = jax.sharding.Mesh(np.asarray(jax.devices()[:2]), ("batch",))
  same, rows = jax.P(), jax.P("batch")
  sharded = jax.shard_map(
    step,
    mesh=mesh,
    in_specs=(same, rows, rows),
    out_specs=same,
    check_vma=False,
  )
  lowered = export.export(jax.jit(sharded), platforms=PLATFORMS)(
    state, images, labels
  )
  assert lowered.nr_devices == 2
  weights = state.params, state.batch_stats
  lowered = export.export(jax.jit(encode_step), platforms=PLATFORMS)(
    weights, images
  )
  assert lowered.platforms == PLATFORMS
