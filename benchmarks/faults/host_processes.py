"""The hosts of a small run, as processes on this machine."""

import os
import pathlib
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Sequence

NUM_DEVICES = 4  # Over all hosts.
LAST_STEP = 30
VALIDATED_STEP = 15  # The first one.
ARGUMENTS = (
  "--config=configs/digits.py:method=idhn,bits=16,epochs=10,start=cold",
  "--config.data.num_train=48",
  "--config.data.num_validation=40",
  "--config.data.num_query=40",
  "--config.data.num_database=120",
  "--config.data.image_size=32",
  "--config.train.batch_size=16",
  "--config.train.validate_every_epochs=5",
  "--config.train.checkpoint_every_steps=4",
  "--config.train.log_every_steps=1",
  "--config.eval.batch_size=4",
  "--config.parallel=jit",
  "--config.tensorboard=False",
  "--noreport",
)

_ROOT = pathlib.Path(__file__).parents[2]


def free_port() -> int:
  """Return a port that nobody listens on."""
  with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    return free.getsockname()[1]


def environment(count: int) -> dict[str, str]:
  """Return additional environment variables of each of `count` hosts."""
  return {
    "PYTHONPATH": str(_ROOT),
    "JAX_PLATFORMS": "cpu",
    # Of several processes one alone would find its programs in a cache, and
    # give up after 30 s of waiting for the others to compile theirs.
    "JAX_ENABLE_COMPILATION_CACHE": "false",
    "XLA_FLAGS": "--xla_backend_optimization_level=0"
    " --xla_cpu_use_fusion_emitters=false"  # Compiles in half the time.
    f" --xla_force_host_platform_device_count={NUM_DEVICES // count}",
  }


class Run:
  """The hosts of one command, each with its own log."""

  def __init__(
    self,
    folder: pathlib.Path,
    data: pathlib.Path,
    count: int,
    extra: Callable[[int], Sequence[str]] = lambda host: (),
    prefix: Callable[[int], Sequence[str]] = lambda host: (),
    address: str = "127.0.0.1",
    absent: Collection[int] = (),
  ):
    """Start them.

    Args:
      folder: Folder of the run and the logs.
      data: Folder of the images.
      count: Number of hosts.
      extra: Host -> flags of its own.
      prefix: Host -> command that starts its command.
      address: Address of host 0.
      absent: Hosts that are not started.
    """
    folder.mkdir(parents=True, exist_ok=True)
    self.workdir = folder / "run"
    port = free_port()
    self.processes: dict[int, subprocess.Popen] = {}  # Host -> process.
    self._logs: dict[int, pathlib.Path] = {}
    for host in sorted(set(range(count)) - set(absent)):
      self._logs[host] = folder / f"host{host}.txt"
      arguments = [
        *prefix(host),
        sys.executable,
        "-m",
        "dsh_jax.main",
        *ARGUMENTS,
        f"--config.data.dir={data}",
        f"--workdir={self.workdir}",
        "--distributed",
        f"--coordinator={address}:{port}",
        f"--num_processes={count}",
        f"--process_id={host}",
        *extra(host),
      ]
      with open(self._logs[host], "wb") as file:
        self.processes[host] = subprocess.Popen(
          arguments,
          cwd=_ROOT,
          env=os.environ | environment(count),
          stdin=subprocess.DEVNULL,
          stdout=subprocess.DEVNULL,
          stderr=file,
          # A shell's background job ignores SIGINT.
          preexec_fn=lambda: signal.signal(
            signal.SIGINT, signal.default_int_handler
          ),
        )

  def wait(self, secs: float) -> dict[int, int | str]:
    """Return host -> exit code; those that take longer are killed."""
    until = time.monotonic() + secs
    codes = {}
    for host, process in self.processes.items():
      try:
        codes[host] = process.wait(max(0.01, until - time.monotonic()))
      except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        codes[host] = "none"
    return codes

  def has_come(self, moment: str) -> bool:
    """Return whether a moment of the run has come."""
    said = self._logs[0].read_bytes()
    if moment == "joining":
      return b"Waiting for host" in said
    if moment == "start":
      return self.workdir.exists()
    if moment == "compile":  # A run that begins makes data.json before.
      return b"Data:" in said
    if moment == "step":
      return b"\nstep " in said
    if moment == "validation":
      return b"\nstep %d/" % VALIDATED_STEP in said
    names = [path.name for path in (self.workdir / "checkpoints").iterdir()]
    if moment == "checkpoint":
      return any("-tmp" in name for name in names)
    return str(LAST_STEP) in names

  def problems(self, codes: dict, expected: dict[int, int]) -> list[str]:
    """Return problems with how the hosts ended."""
    found = []
    for host, code in codes.items():
      text = self._logs[host].read_text(errors="replace")
      lines = [x for x in text.splitlines() if x.startswith("dsh_jax: ")]
      if code != expected[host]:
        found.append(f"host {host} has exit code {code}, not {expected[host]}")
      if expected[host] > 0 and (len(lines) != 1 or "Traceback" in text):
        found.append(f"host {host} says {lines or text[-300:]!r}")
    return found
