"""The processor cores that this process may use."""

import os


def count() -> int:
  """Returns how many there are; at least 1."""
  if hasattr(os, "sched_getaffinity"):  # Not on macOS.
    return len(os.sched_getaffinity(0))
  return os.cpu_count() or 1
