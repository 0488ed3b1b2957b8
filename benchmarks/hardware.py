"""Descriptions of hardware and software, for measurements."""

import datetime
import os
import pathlib
import platform
import subprocess


def describe() -> str:
  """Return processor, number of cores and memory of this machine."""
  model = platform.processor() or platform.machine()
  info = pathlib.Path("/proc/cpuinfo")
  if info.exists():
    for line in info.read_text().splitlines():
      if line.startswith("model name"):
        model = line.partition(":")[2].strip()
        break
  text = f"{model}, {len(cores())} cores"
  try:
    size = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
  except (ValueError, OSError):
    return text
  return f"{text}, {size / 2**30:.0f} GiB"


def cores() -> list[int]:
  """Return the numbers of the cores that this process may use."""
  if hasattr(os, "sched_getaffinity"):
    return sorted(os.sched_getaffinity(0))
  return list(range(os.cpu_count() or 1))


def commit() -> str:
  """Return the commit, with "+" if files were changed; "" without git."""
  try:
    return subprocess.run(
      [
        "git",
        "describe",
        "--always",
        "--abbrev=10",
        "--exclude=*",
        "--dirty=+",
      ],
      cwd=pathlib.Path(__file__).parent,
      capture_output=True,
      text=True,
      check=True,
    ).stdout.strip()
  except (OSError, subprocess.CalledProcessError):
    return ""


def about() -> dict[str, str]:
  """Return hardware, versions, commit, date and load of a measurement."""
  import jax  # Slow; the other functions do not need it.
  import numpy as np

  device = jax.devices()[0]
  where = describe()
  if device.platform != "cpu":
    where = f"{device.device_kind}; host {where}"
  return {
    "hardware": where,
    "platform": device.platform,
    "versions": f"jax {jax.__version__}, numpy {np.__version__}",
    "commit": commit(),
    "date": datetime.date.today().isoformat(),
    # Above the number of cores, other work slowed the measurement.
    "load_average": f"{os.getloadavg()[0]:.1f}",
  }
