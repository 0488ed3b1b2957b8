"""Step time, images/s and the share of the peak."""

import pytest

from dsh_jax.runs import flop, speed


@pytest.fixture
def clock(monkeypatch):
  now = [100.0]
  monkeypatch.setattr(speed.time, "monotonic", lambda: now[0])
  return now


def test_only_steps_between_start_and_stop_are_timed(clock):
  found = speed.Speed(32, flop_per_step=6e12, peak_flop_per_sec=1e13)
  assert found.scalars(3) == {} and found.stop(3) == (0, 0.0)
  found.start(4)
  clock[0] += 2
  found.start(5)  # It runs already.
  clock[0] += 6
  assert found.scalars(8) == {
    "perf/step_secs": 2.0,
    "perf/images_per_sec": 16.0,
    "perf/mfu": 0.3,
  }
  assert found.scalars(8) == {}
  clock[0] += 1
  assert found.stop(9) == (5, 9.0)
  clock[0] += 1000  # A validation.
  found.start(9)
  clock[0] += 3
  assert found.scalars(10)["perf/step_secs"] == 3


def test_peaks_are_of_the_longest_name():
  assert flop.peak("TPU v5 lite") == 197e12
  assert flop.peak("TPU v5p") == flop.peak("TPU v5") == 459e12
  assert flop.peak("NVIDIA L40S") == 362e12
  assert flop.peak("NVIDIA H100 80GB HBM3") == 989e12
  assert flop.peak("cpu") is None
  assert "perf/mfu" not in speed.Speed(8, 1.0, None).scalars(1)
  found = speed.Speed(8, 1.0, None).summary(2, 4.0)
  assert (found["step_secs"], found["images_per_sec"]) == (2, 4)
  assert found["mfu"] is None and None not in speed.Speed(8).scalars(1).values()
