"""The hardware that programs are compiled for, none of which is needed."""

import dataclasses
import importlib.util
import math
import os
import re

import jax
from jax.experimental import topologies

from dsh_jax import errors


@dataclasses.dataclass(frozen=True)
class Chip:
  """One chip, by its data sheet.

  Attributes:
    name: As in --target.
    platform: "tpu" or "cuda".
    clock_hz: Of the core whose cycles the TPU compiler estimates; 0 for
      others. It is the peak divided by the operations of a cycle.
    peak: Operations a second in bfloat16, dense.
    memory_bytes: Of the chip.
    memory_rate: Bytes a second.
  """

  name: str
  platform: str
  clock_hz: float
  peak: float
  memory_bytes: int
  memory_rate: float


CHIPS = {
  chip.name: chip
  for chip in (
    Chip("v5e", "tpu", 1.5e9, 197e12, 16 * 2**30, 819e9),
    Chip("v5p", "tpu", 1.75e9, 459e12, 95 * 2**30, 2765e9),
    Chip("v6e", "tpu", 1.75e9, 918e12, 32 * 2**30, 1640e9),
    Chip("h100", "cuda", 0, 989e12, 80 * 10**9, 3350e9),
  )
}
_EXAMPLES = "v5e:2x4, v5e:16x16, v5p:2x2x1, v6e:2x4, h100:1"
_ENVIRONMENTS = {
  "tpu": ("libtpu", "tpu"),
  "cuda": ("jax_cuda12_plugin", "cuda12"),
}

# What XLA needs to know about an H100 SXM.
_H100 = """
gpu_device_info {
  threads_per_block_limit: 1024
  threads_per_warp: 32
  shared_memory_per_block: 49152
  shared_memory_per_core: 233472
  threads_per_core_limit: 2048
  core_count: 132
  fpus_per_core: 128
  block_dim_limit_x: 2147483647
  block_dim_limit_y: 65535
  block_dim_limit_z: 65535
  memory_bandwidth: 3350000000000
  l2_cache_size: 52428800
  clock_rate_ghz: 1.98
  device_memory_size: 80000000000
  shared_memory_per_block_optin: 232448
  cuda_compute_capability { major: 9 minor: 0 }
  registers_per_core_limit: 65536
  registers_per_block_limit: 65536
}
platform_name: "CUDA"
dnn_version_info { major: 9 minor: 8 }
device_description_str: "NVIDIA H100 80GB HBM3"
"""


@dataclasses.dataclass(frozen=True)
class Target:
  """A number of chips in a mesh.

  Attributes:
    name: As given, such as "v5e:2x4".
    chip: Of which all are.
    shape: Chips along each axis.
  """

  name: str
  chip: Chip
  shape: tuple[int, ...]

  @property
  def num_chips(self) -> int:
    """How many there are, P."""
    return math.prod(self.shape)

  @property
  def package(self) -> str:
    """Import name of the compiler's package."""
    return _ENVIRONMENTS[self.chip.platform][0]

  def devices(self) -> list[jax.Device]:
    """Return devices that programs can be compiled for, but not run on.

    Raises:
      UserError: The compiler is not installed, or it knows no such slice.
    """
    package, extra = _ENVIRONMENTS[self.chip.platform]
    if importlib.util.find_spec(package) is None:
      raise errors.UserError(
        f"There is no compiler for {self.name} here: no package {package}. Make"
        f" an environment for it, python -m venv ENV && ENV/bin/pip install -e"
        f" '.[{extra}]', and start this command with ENV/bin/python."
      )
    try:
      if self.chip.platform == "tpu":
        return self._tpu_devices()
      topology = "x".join(map(str, (1, 1, self.num_chips)))
      return topologies.get_topology_desc(
        platform="cuda",
        topology_name="",
        topology=topology,
        target_config=_H100,
      ).devices
    except Exception as error:  # Whatever the plug-in raises.
      reason = str(error).splitlines()[0]
      raise errors.UserError(
        f"No topology {self.name}: {reason} Change --target, for example to one"
        f" of {_EXAMPLES}."
      ) from None

  def _tpu_devices(self):
    name = f"{self.chip.name}:{'x'.join(map(str, self.shape))}"
    options = {}
    if self.num_chips == 1:
      options = {"chips_per_host_bounds": (1, 1, 1)}
    return list(
      topologies.get_topology_desc(
        platform="tpu", topology_name=name, **options
      ).devices
    )


def parse(name: str) -> Target:
  """Read a target.

  Args:
    name: CHIP:SHAPE, such as "v5e:2x4" or "h100:8".

  Raises:
    UserError: It names no chip or no shape.
  """
  found = re.fullmatch(r"(\w+):(\d+(?:x\d+)*)", name)
  if not found or found[1] not in CHIPS:
    raise errors.UserError(
      f"--target is {name!r}; it must be CHIP:SHAPE, such as {_EXAMPLES}."
    )
  shape = tuple(map(int, found[2].split("x")))
  return Target(name, CHIPS[found[1]], shape)


def prepare() -> None:
  """Let compilers start on a machine without their hardware.

  Call it before any other use of JAX.
  """
  defaults = {
    "TPU_SKIP_MDS_QUERY": "1",  # Else it asks a server of Google Cloud.
    "TPU_ACCELERATOR_TYPE": "v5litepod-8",
    "TPU_WORKER_HOSTNAMES": "localhost",
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",  # No TPU is held by anyone.
    "JAX_SKIP_CUDA_CONSTRAINTS_CHECK": "1",
  }
  for variable, value in defaults.items():
    os.environ.setdefault(variable, value)
  jax.config.update("jax_platforms", "cpu")
