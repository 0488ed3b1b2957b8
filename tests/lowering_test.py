"""Every training step lowers for accelerators; none is needed."""

import jax
import pytest
import traced
from jax import export

from configs import digits, methods

PLATFORMS = ("tpu", "cuda")


def lower(method, backbone="tiny", dtype="float32"):
  config = digits.get_config(f"method={method},bits=16,backbone={backbone}")
  config.data.image_size, config.data.flip = 16, True
  config.dtype, config.train.batch_size = dtype, 16
  step, _, *arguments = traced.make_steps(config, num_classes=5)
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
