"""Hosts find each other, and none waits for one that is gone or never came."""

import json
import signal
import socket
import subprocess
import sys

import pytest

# What `hosts` and `cluster` do, without the seconds that JAX takes to import.
SCRIPT = """
import json, sys
from dsh_jax import errors
from dsh_jax.runs import links
port, secs, index, count = map(int, sys.argv[1:])
links._QUIET_SECS = 0
one = links.create(index, count)
try:
  one.join("localhost", port, secs)
  print(json.dumps(one.exchange(index)), flush=True)
  if word := sys.stdin.readline():
    one._send("tell", "late", None)
    print(flush=True)
  if word == "stop\\n":
    one.end("Stopped.", 143)
    links.leave("Stopped.", 143)
  sys.stdin.read()
  one.part()
except errors.Error as error:
  one.end(str(error), error.exit_code)
  links.leave(str(error), error.exit_code)
"""


@pytest.fixture
def start():
  """Starts a host that prints what all tell, and ends when its input does."""
  started = []
  with socket.create_server(("127.0.0.1", 0)) as free:
    port = free.getsockname()[1]

  def start_host(index, count, secs=60):
    arguments = map(str, (port, secs, index, count))
    started.append(
      subprocess.Popen(
        [sys.executable, "-c", SCRIPT, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
      )
    )
    return started[-1]

  start_host.port = port
  yield start_host
  for process in started:
    with process:  # Closes its pipes.
      process.kill()


def _end(process):
  """Return the exit code and the last line of a host that ends by itself."""
  (line,) = [x for x in process.stderr if x.startswith("dsh_jax: ")]
  return process.wait(30), line


def test_hosts_join_in_any_order_and_strangers_are_turned_away(start):
  last = start(2, 3)
  first = start(0, 3)
  with _connect(start.port) as stranger:
    stranger.sendall(b"GET / HTTP/1.1\r\n\r\n")
    assert stranger.recv(1) == b""
  hosts = [first, start(1, 3), last]
  assert [json.loads(x.stdout.readline()) for x in hosts] == [[0, 1, 2]] * 3
  with pytest.raises(ConnectionRefusedError):  # The next run may start.
    socket.create_connection(("localhost", start.port))
  for process in hosts:
    process.stdin.close()
  assert [process.wait(30) for process in hosts] == [0] * 3


def _connect(port):
  while True:
    try:
      return socket.create_connection(("localhost", port))
    except OSError:
      pass


def test_a_host_that_never_starts_is_named(start):
  hosts = [start(0, 4, secs=1), start(2, 4)]
  for process in hosts:
    code, line = _end(process)
    assert code == 5 and "Not started within 1 s: hosts 1, 3 of 4." in line
    assert "--initialization_timeout" in line
  code, line = _end(start(1, 2, secs=1))
  assert code == 5 and f"host 0 of 2 at localhost:{start.port} (" in line


@pytest.mark.parametrize("lost, other", [(0, 1), (1, 0)])
def test_a_host_that_is_killed_while_others_join_ends_them(start, lost, other):
  hosts = {0: start(0, 3), 1: start(1, 3)}
  while hosts[0].stderr.readline() != "Waiting for host 2 of 3.\n":
    pass
  hosts[lost].send_signal(signal.SIGKILL)
  code, line = _end(hosts[other])
  assert code == 5 and f"Host {lost} has ended: it was killed" in line


def test_a_late_answer_does_not_hide_that_a_host_stops(start):
  hosts = [start(0, 2), start(1, 2)]
  for process, word in zip(hosts, ("tell", "stop"), strict=True):
    process.stdout.readline()
    process.stdin.write(f"{word}\n")
    process.stdin.flush()
    process.stdout.readline()
  assert _end(hosts[1]) == (143, "dsh_jax: Stopped.\n")
  assert _end(hosts[0]) == (143, "dsh_jax: Host 1 has ended: Stopped.\n")


def test_two_with_one_number_end_all(start):
  hosts = [start(0, 3), start(1, 3), start(1, 3)]
  for process in hosts:
    code, line = _end(process)
    assert code == 2 and "started as process 1 of 3" in line
