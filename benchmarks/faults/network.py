"""Two hosts on a network of their own, which can be cut."""

import os
import pathlib
import shutil
import socket
import subprocess
import types
from collections.abc import Sequence
from typing import Self

_ADDRESSES = ("10.213.7.1", "10.213.7.2")


def is_possible() -> bool:
  """Return whether this process may create networks (Linux root, with `ip`)."""
  tools = ("ip", "nsenter", "unshare")
  return os.geteuid() == 0 and all(map(shutil.which, tools))


class Network:
  """Two network namespaces, joined by a cable.

  They have no names, so they end with their last process, even if this one is
  killed.

  Attributes:
    address: Address of host 0.
  """

  address = _ADDRESSES[0]

  def __init__(self, folder: pathlib.Path):
    """Create the namespaces and the cable.

    Args:
      folder: Folder for the /etc/hosts of each.
    """
    # Each `cat` ends when this process does.
    self._holders = [
      subprocess.Popen(
        ["unshare", "--net", "cat"],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
      )
      for _ in _ADDRESSES
    ]
    self._files = []
    for host, address in enumerate(_ADDRESSES):
      file = folder / f"hosts{host}"
      # Gloo looks up the name of its machine.
      file.write_text(
        f"127.0.0.1 localhost\n{address} {socket.gethostname()}\n"
      )
      self._files.append(file)

  def __enter__(self) -> Self:
    for holder in self._holders:
      _wait_for_namespace(holder)
    first, second = (str(holder.pid) for holder in self._holders)
    peer = ["peer", "name", "cable", "netns", second]
    add = ["ip", "link", "add", "cable", "netns", first, "type", "veth"]
    subprocess.run([*add, *peer], check=True)
    for host, address in enumerate(_ADDRESSES):
      self._ip(host, "address", "add", f"{address}/24", "dev", "cable")
      self._ip(host, "link", "set", "lo", "up")
      self._ip(host, "link", "set", "cable", "up")
    return self

  def __exit__(
    self, kind: type | None, error: object, trace: types.TracebackType | None
  ) -> None:
    for holder in self._holders:
      holder.stdin.close()
      holder.wait()

  def prefix(self, host: int) -> Sequence[str]:
    """Return the command that starts a command on a host."""
    mounted = f'mount --bind {self._files[host]} /etc/hosts && exec "$@"'
    return (
      "nsenter",
      f"--net=/proc/{self._holders[host].pid}/ns/net",
      "unshare",
      "--mount",
      "sh",
      "-c",
      mounted,
      "sh",
    )

  def cut(self) -> None:
    """Cut the cable."""
    self._ip(1, "link", "set", "cable", "down")

  def repair(self) -> None:
    """Reconnect it."""
    self._ip(1, "link", "set", "cable", "up")

  def _ip(self, host, *arguments):
    inside = ["nsenter", f"--net=/proc/{self._holders[host].pid}/ns/net"]
    subprocess.run([*inside, "ip", *arguments], check=True)


def _wait_for_namespace(holder):
  mine = os.readlink("/proc/self/ns/net")
  while os.readlink(f"/proc/{holder.pid}/ns/net") == mine:
    if holder.poll() is not None:
      raise OSError("unshare --net failed")
