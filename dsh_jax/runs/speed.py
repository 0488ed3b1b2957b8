"""Speed of training steps, without compilation, validation and saving."""

import time
from collections.abc import Sequence

import flax.linen as nn
import jax

from dsh_jax import parallel, steps
from dsh_jax.runs import flop


class Speed:
  """A clock of training steps."""

  def __init__(
    self,
    images_per_step: int,
    flop_per_step: float | None = None,
    peak_flop_per_sec: float | None = None,
  ):
    """Create a stopped clock.

    Args:
      images_per_step: B.
      flop_per_step: Operations of the model, forward and backward.
      peak_flop_per_sec: Of all devices; None if unknown.
    """
    self._images_per_step = images_per_step
    self._share = None
    if flop_per_step and peak_flop_per_sec:
      self._share = flop_per_step / peak_flop_per_sec
    self._mark = self._started = None

  def start(self, step: int) -> None:
    """Start the clock after `step` steps, unless it runs."""
    if self._started is None:
      self._mark = self._started = (time.monotonic(), step)

  def stop(self, step: int) -> tuple[int, float]:
    """Stop the clock after `step` steps.

    Returns:
      Steps and seconds since the start; zeros if it did not run.
    """
    started, self._mark, self._started = self._started, None, None
    if started is None:
      return 0, 0.0
    return step - started[1], time.monotonic() - started[0]

  def scalars(self, step: int) -> dict[str, float]:
    """Return the scalars to log about the steps since the last call.

    Args:
      step: Steps taken.

    Returns:
      Those of `summary` that are known, as "perf/NAME".
    """
    num_steps, secs = 0, 0.0
    if self._mark is not None and step > self._mark[1]:
      now = time.monotonic()
      num_steps, secs = step - self._mark[1], now - self._mark[0]
      self._mark = (now, step)
    return {
      f"perf/{name}": value
      for name, value in self.summary(num_steps, secs).items()
      if value is not None
    }

  def summary(self, num_steps: int, secs: float) -> dict[str, float | None]:
    """Return the speed of some steps; None for what is unknown.

    Args:
      num_steps: How many; 0 tells no speed.
      secs: What they took.

    Returns:
      "step_secs", "images_per_sec", "mfu" (of the bfloat16 peak, whatever the
      type of the network), and "memory_bytes", the peak of the first device.
    """
    step_secs = secs / num_steps if num_steps else None
    memory = jax.local_devices()[0].memory_stats() or {}
    return {
      "step_secs": step_secs,
      "images_per_sec": step_secs and self._images_per_step / step_secs,
      "mfu": step_secs and self._share and self._share / step_secs,
      "memory_bytes": memory.get("peak_bytes_in_use"),
    }


def create(
  network: nn.Module,
  state: steps.TrainState,
  mesh: parallel.DeviceMesh,
  input_shape: Sequence[int],
) -> Speed:
  """Return a clock, which knows the MFU where the peak is in `flop.PEAKS`.

  Args:
    network: Images -> logits.
    state: Its parameters and statistics.
    mesh: The devices.
    input_shape: [B,H,W,3] or [B,F], of what the network sees.
  """
  peak = flop.peak(jax.devices()[0].device_kind)
  if peak is None:
    return Speed(input_shape[0])
  params = {k: v for k, v in state.params.items() if k != "loss"}
  variables = {"params": params, "batch_stats": state.batch_stats}
  per_step = flop.of_step(network, variables, input_shape)
  return Speed(input_shape[0], per_step, peak * mesh.num_devices)
