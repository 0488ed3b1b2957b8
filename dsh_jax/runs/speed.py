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
      "perf/step_secs", "perf/images_per_sec", and "perf/mfu" if the peak is
      known; none of them if no step was timed. "perf/memory_bytes", the peak
      of the first device, where the device reports it.
    """
    scalars = {}
    if self._mark is not None and step > self._mark[1]:
      now = time.monotonic()
      secs = (now - self._mark[0]) / (step - self._mark[1])
      self._mark = (now, step)
      scalars["perf/step_secs"] = secs
      scalars["perf/images_per_sec"] = self._images_per_step / secs
      if self._share is not None:
        scalars["perf/mfu"] = self._share / secs
    memory = jax.local_devices()[0].memory_stats() or {}
    if "peak_bytes_in_use" in memory:
      scalars["perf/memory_bytes"] = memory["peak_bytes_in_use"]
    return scalars


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
