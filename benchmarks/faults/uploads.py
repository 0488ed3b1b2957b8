"""Uploads huge pictures to the search page and measures memory and time.

python -m benchmarks.faults.uploads --index=RUN/codes.npz

Starts the server on this machine, sends it pictures of 10,000 x 10,000 pixels
in all formats at once, keeps connections open that send a byte a second, and
searches meanwhile. Exits with 1 if the server takes over 1 GB more than when
idle, if a search fails, or if a slow connection stays open.
"""

import collections
import contextlib
import datetime
import http.client
import io
import pathlib
import socket
import subprocess
import sys
import threading
import time
import urllib.parse
from collections.abc import Sequence
from concurrent import futures

import numpy as np
from absl import flags
from PIL import Image

from benchmarks import hardware
from dsh_jax import errors
from dsh_jax.apps import command

_INDEX = flags.DEFINE_string("index", None, "codes.npz of a run.")
_COUNT = flags.DEFINE_integer("count", 200, "Uploads.", lower_bound=1)
_SIDE = flags.DEFINE_integer("side", 10_000, "Pixels, of each side.")
_AT_ONCE = flags.DEFINE_list(
  "at_once", ["200", "8"], "Uploads at the same time, for each round."
)
_SLOW = flags.DEFINE_integer("slow", 40, "Connections that send slowly.")
_RESULTS = flags.DEFINE_string("results", "", "Folder for uploads.md.")

_MOST_BYTES = 10**9
_SLOW_SECS = 45.0
_ROOT = pathlib.Path(__file__).parents[2]


def _pictures(side: int) -> dict[str, bytes]:
  """Return a picture that compresses well in every format."""
  found = {}
  for name, mode, kind, options in (
    ("PNG", "RGB", "PNG", {"compress_level": 1}),
    ("PNG, transparent", "RGBA", "PNG", {"compress_level": 1}),
    ("PNG, 16 bits", "I;16", "PNG", {"compress_level": 1}),
    ("PNG, turned by EXIF", "RGB", "PNG", {"exif": _turned()}),
    ("PNG, one bit", "1", "PNG", {}),
    ("JPEG", "RGB", "JPEG", {}),
    ("JPEG, progressive", "RGB", "JPEG", {"progressive": True}),
    ("WebP", "RGB", "WEBP", {"method": 0, "quality": 1}),
    ("GIF", "P", "GIF", {}),
  ):
    buffer = io.BytesIO()
    Image.new(mode, (side, side)).save(buffer, kind, **options)
    found[name] = buffer.getvalue()
  return found


def _turned():
  exif = Image.Exif()
  exif[0x112] = 6
  return exif


class _Client:
  """Asks the server, and keeps its answers and their seconds."""

  def __init__(self, address: str):
    self._host = urllib.parse.urlsplit(address).netloc
    self.answers = collections.defaultdict(list)

  def ask(self, kind: str, method: str, path: str, body=None) -> bytes:
    headers = {}
    if body is not None:
      headers = {"Content-Type": "multipart/form-data; boundary=edge"}
      body = (
        b'--edge\r\nContent-Disposition: form-data; name="picture";'
        b' filename="a.png"\r\nContent-Type: image/png\r\n\r\n'
        + body
        + b"\r\n--edge--\r\n"
      )
    started, status, content = time.monotonic(), "none", b""
    connection = http.client.HTTPConnection(self._host, timeout=120)
    try:
      connection.request(method, path, body, headers)
      answer = connection.getresponse()
      status, content = answer.status, answer.read()
    except (OSError, http.client.HTTPException) as error:
      status = type(error).__name__
    finally:
      connection.close()
    self.answers[kind].append((status, time.monotonic() - started))
    return content

  def trickle(self, kind: str, head: bytes) -> None:
    """Send a byte a second until the server closes the connection."""
    host, _, port = self._host.rpartition(":")
    started, status = time.monotonic(), "open"
    with socket.create_connection((host, int(port)), timeout=1) as connection:
      connection.sendall(head)
      while time.monotonic() < started + _SLOW_SECS:
        try:
          connection.sendall(b"x")
          if not connection.recv(1000):
            status = "closed"
            break
        except TimeoutError:
          continue
        except OSError:
          status = "closed"
          break
    self.answers[kind].append((status, time.monotonic() - started))


def _memory(process: subprocess.Popen, field: str) -> int:
  text = pathlib.Path(f"/proc/{process.pid}/status").read_text()
  (line,) = (x for x in text.splitlines() if x.startswith(field))
  return int(line.split()[1]) * 1024


def _attack(client: _Client, pictures: dict[str, bytes], at_once: int) -> None:
  """Upload, trickle and search at the same time."""
  done = threading.Event()
  small = client.ask("small picture", "GET", "/picture/0")

  def search():
    row = 0
    while not done.is_set():
      client.ask("search by an item", "GET", f"/similar/{row}")
      client.ask("small picture", "GET", f"/picture/{row}")
      client.ask("small upload", "POST", "/search", small)
      row = (row + 1) % 20
      done.wait(0.2)

  names = list(pictures)
  with futures.ThreadPoolExecutor(at_once + _SLOW.value + 1) as pool:
    searching = pool.submit(search)
    tasks = []
    for number in range(_SLOW.value):
      kind, head = (
        ("slow header", b"GET / HTTP/1.1\r\nHost: localhost\r\nX: "),
        (
          "slow upload",
          b"POST /search HTTP/1.1\r\nHost: localhost\r\n"
          b"Content-Length: 9999\r\n"
          b"Content-Type: multipart/form-data; boundary=edge\r\n\r\n--edge",
        ),
      )[number % 2]
      tasks.append(pool.submit(client.trickle, kind, head))
    for number in range(_COUNT.value):
      name = names[number % len(names)]
      task = (client.ask, name, "POST", "/search", pictures[name])
      tasks.append(pool.submit(*task))
    futures.wait(tasks)
    done.set()
    searching.result()


def _measure(
  pictures: dict[str, bytes], at_once: int
) -> tuple[dict, tuple[int, ...], float]:
  """Return answers; bytes when idle, at most and afterwards; seconds."""
  process = subprocess.Popen(
    [
      sys.executable,
      *("-m", "dsh_jax", "serve", f"--index={_INDEX.value}", "--port=0"),
    ],
    cwd=_ROOT,
    stdout=subprocess.PIPE,
    text=True,
  )
  try:
    line = process.stdout.readline()
    if not line.startswith("Open "):
      raise errors.UserError("The server did not start.")
    client = _Client(line.split()[1])
    # The memory of the first requests is not part of the load.
    small = client.ask("", "GET", "/picture/0")
    client.ask("", "POST", "/search", small)
    client.ask("", "GET", "/similar/0")
    del client.answers[""]
    time.sleep(1)
    idle = _memory(process, "VmRSS")
    pathlib.Path(f"/proc/{process.pid}/clear_refs").write_text("5")
    started = time.monotonic()
    _attack(client, pictures, at_once)
    secs = time.monotonic() - started
    peak = _memory(process, "VmHWM")
    time.sleep(1)
    after = _memory(process, "VmRSS")
  finally:
    process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
      process.wait(30)
    process.kill()
    process.wait()
  return client.answers, (idle, peak, after), secs


def _failures(answers: dict, idle: int, peak: int) -> list[str]:
  found = []
  if peak - idle > _MOST_BYTES:
    found.append(f"memory: {(peak - idle) / 1e6:,.0f} MB above idle")
  for kind, allowed in (
    ("search by an item", {200}),
    ("small picture", {200}),
    ("small upload", {200, 503}),
    ("slow header", {"closed"}),
    ("slow upload", {"closed"}),
  ):
    others = {status for status, _ in answers[kind]} - allowed
    if others:
      found.append(f"{kind}: {sorted(map(str, others))}")
  return found


def _run(argv: Sequence[str]) -> int:
  command.parse(argv, description=__doc__)
  if not _INDEX.value:
    raise errors.UserError("No index was given. Give one by --index=FILE.")
  pictures = _pictures(_SIDE.value)
  lines = [
    "# Huge uploads to the search page",
    "",
    f"`python -m benchmarks.faults.uploads --count={_COUNT.value}` on"
    f" {hardware.describe()}, commit {hardware.commit()},"
    f" {datetime.date.today().isoformat()}. Each round: {_COUNT.value} uploads"
    f" of {_SIDE.value:,} x {_SIDE.value:,} pixels, {_SLOW.value} connections"
    " that send a byte a second, and searches meanwhile.",
    "",
    "200: searched; 415: refused in the header, since decoding would take more"
    " memory than there is for all pictures together; 503: refused, since"
    " others are being decoded.",
  ]
  failed = False
  for at_once in map(int, _AT_ONCE.value):
    answers, memory, secs = _measure(pictures, at_once)
    failures = _failures(answers, *memory[:2])
    failed = failed or bool(failures)
    lines += ["", *_table(at_once, answers, pictures, memory, secs, failures)]
  print("\n".join(lines))
  if _RESULTS.value:
    path = pathlib.Path(_RESULTS.value, "uploads.md")
    path.write_text("\n".join(lines) + "\n")
  return int(failed)


def _table(at_once, answers, pictures, memory, secs, failures) -> list[str]:
  idle, peak, after = (f"{size / 1e6:,.0f} MB" for size in memory)
  more = f"{(memory[1] - memory[0]) / 1e6:,.0f} MB"
  lines = [
    f"## {at_once} at the same time",
    "",
    f"{secs:.0f} s. Memory of the server: {idle} idle, at most {peak}, which is"
    f" {more} more; {after} afterwards. Failures:"
    f" {'; '.join(failures) or 'none'}.",
    "",
    "| request | size | answers | median s | longest s |",
    "| --- | ---: | --- | ---: | ---: |",
  ]
  for kind, found in sorted(answers.items(), key=lambda x: x[0] in pictures):
    counts = collections.Counter(str(status) for status, _ in found)
    text = ", ".join(f"{n} x {status}" for status, n in sorted(counts.items()))
    size = f"{len(pictures[kind]) / 1e3:,.0f} kB" if kind in pictures else ""
    taken = [taken for _, taken in found]
    longest = f"{np.median(taken):.2f} | {max(taken):.2f}"
    lines.append(f"| {kind} | {size} | {text} | {longest} |")
  return lines


if __name__ == "__main__":
  command.run(_run)
