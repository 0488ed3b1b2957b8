"""How fast training goes, apart from compilation, validation and saving."""

import time

import jax


class Speed:
  """A clock of training steps."""

  def __init__(
    self,
    images_per_step: int,
    flop_per_step: float | None = None,
    peak_flop_per_sec: float | None = None,
  ):
    """Stand still.

    Args:
      images_per_step: B.
      flop_per_step: Of the model, forward and backward.
      peak_flop_per_sec: Of all devices; None if it is not known.
    """
    self._images_per_step = images_per_step
    self._share = None
    if flop_per_step and peak_flop_per_sec:
      self._share = flop_per_step / peak_flop_per_sec
    self._mark = self._started = None

  def start(self, step: int) -> None:
    """Start the clock at `step` steps taken; a clock that runs goes on."""
    if self._started is None:
      self._mark = self._started = (time.monotonic(), step)

  def stop(self, step: int) -> tuple[int, float]:
    """Stop the clock at `step` steps taken.

    Returns:
      Steps and seconds since it was started; none if it stands.
    """
    started, self._mark, self._started = self._started, None, None
    if started is None:
      return 0, 0.0
    return step - started[1], time.monotonic() - started[0]

  def scalars(self, step: int) -> dict[str, float]:
    """Return what is logged about the steps since the last call.

    Args:
      step: Steps taken.

    Returns:
      "perf/step_secs", "perf/images_per_sec", and "perf/mfu", the share of the
      peak that the model's operations take, if the peak is known. {} if no step
      was timed. "perf/memory_bytes", the most that the first device has held,
      where it says so.
    """
    found = {}
    if self._mark is not None and step > self._mark[1]:
      now = time.monotonic()
      secs = (now - self._mark[0]) / (step - self._mark[1])
      self._mark = (now, step)
      found["perf/step_secs"] = secs
      found["perf/images_per_sec"] = self._images_per_step / secs
      if self._share is not None:
        found["perf/mfu"] = self._share / secs
    memory = jax.local_devices()[0].memory_stats() or {}
    if "peak_bytes_in_use" in memory:
      found["perf/memory_bytes"] = memory["peak_bytes_in_use"]
    return found
