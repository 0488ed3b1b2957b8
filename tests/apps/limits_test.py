"""Limits of the server, and of what it shows, with real sockets."""

import asyncio
import concurrent.futures
import contextlib
import dataclasses
import io
import os
import pathlib
import socket
import threading

import numpy as np
import pytest
from PIL import Image
from serve_test import ask

from dsh_jax.apps import index as index_lib
from dsh_jax.apps import pictures, serve
from dsh_jax.data import images

pytest.importorskip("uvicorn", reason="the extra serve is not installed")
from starlette import exceptions, requests  # noqa: E402

from dsh_jax.apps import limits, search_server, uploads  # noqa: E402


@contextlib.contextmanager
def in_process(index, host="127.0.0.1", encoder=None):
  """Serve an index from a thread; yield socket address."""
  server = search_server.Server(index, pictures.Pictures(index), encoder)
  listening = serve._bind(host, 0)
  runner = serve.uvicorn.Server(
    serve.make_config(search_server.create_app(server))
  )
  thread = threading.Thread(target=runner.run, args=([listening],))
  thread.start()
  try:
    yield listening.getsockname()[:2]
  finally:
    runner.should_exit = True
    thread.join(60)
    listening.close()
  assert not thread.is_alive()


@pytest.fixture
def index(tmp_path):
  """An index of a picture, and of files that it must not show."""
  folder = tmp_path / "pictures"
  folder.mkdir()
  for path in (folder / "a.png", tmp_path / "secret.png"):
    Image.new("RGB", (40, 20), "red").save(path)
  os.mkfifo(folder / "pipe.png")
  ids = ["a.png", "../secret.png", str(tmp_path / "secret.png"), "pipe.png"]
  codes = np.arange(4, dtype=np.uint32)[:, None]
  return index_lib.Index(codes, np.array(ids), 8, "", str(folder))


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "0.0.0.0"])
def test_only_files_inside_the_folder_are_shown(index, host):
  try:
    socket.create_server((host, 0), family=serve._family(host)).close()
  except OSError:
    pytest.skip(f"this machine has no {host}")
  with in_process(index, host) as (_, port):
    shown = "[::1]" if ":" in host else "127.0.0.1"
    address = f"http://{shown}:{port}"
    _, _, content = ask(address, "/picture/0")
    assert Image.open(io.BytesIO(content)).size == (40, 20)
    assert [ask(address, f"/large/{row}")[0] for row in range(1, 4)] == [
      404
    ] * 3


def test_slow_connections_are_closed_and_the_terminal_stays_quiet(
  index, monkeypatch, capfd
):
  monkeypatch.setattr(limits, "REQUEST_SECS", 0.5)
  monkeypatch.setattr(limits, "MAX_CONNECTIONS", 4)
  head = (
    b"POST /search HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\nx"
  )
  with in_process(index) as place, contextlib.ExitStack() as stack:
    slow = [
      stack.enter_context(socket.create_connection(place)) for _ in range(4)
    ]
    for connection, sent in zip(slow, (b"", b"GET /", head, head), strict=True):
      connection.sendall(sent)
    slow.pop().close()  # A browser that leaves.
    for connection in slow:
      connection.settimeout(20)
      with contextlib.suppress(ConnectionResetError):
        while connection.recv(4096):
          pass
    monkeypatch.setattr(limits, "REQUEST_SECS", 60)
    assert ask(f"http://{place[0]}:{place[1]}", "/")[0] == 200
  assert capfd.readouterr().err == ""


@pytest.mark.parametrize("length", [b"", b"Content-Length: 100\r\n"])
def test_uploads_in_chunks_are_refused_unread(index, length):
  head = (
    b"POST /search HTTP/1.1\r\nHost: localhost\r\n"
    b"Content-Type: multipart/form-data; boundary=x\r\n"
  )
  chunked = b"Transfer-Encoding: chunked\r\n\r\n1\r\n-\r\n"
  # The encoder is never asked.
  with in_process(index, encoder=object()) as place:
    with socket.create_connection(place, 20) as connection:
      connection.sendall(head + length + chunked)
      assert b" 411 " in connection.recv(4096).splitlines()[0]


def test_an_upload_longer_than_it_says_is_refused(index):
  """Other servers may let one through; h11 does not."""
  encoder = uploads.Uploads(object(), limits.Memory(1))
  scope = {
    "type": "http",
    "app": None,
    "method": "POST",
    "headers": [
      (b"content-length", b"5"),
      (b"content-type", b"multipart/form-data; boundary=x"),
    ],
  }

  async def receive():
    return {"type": "http.request", "body": b"--x\r\n\r\n", "more_body": True}

  with pytest.raises(exceptions.HTTPException, match="longer than its Content"):
    asyncio.run(encoder.receive(requests.Request(scope, receive)))


def test_memory_is_shared():
  memory = limits.Memory(100)
  with memory.take(60):
    with memory.take(40), pytest.raises(limits.BusyError):
      with memory.take(1):
        pass
    with pytest.raises(images.UnreadableError, match="give fewer pixels"):
      with memory.take(101):
        pass
    pool = concurrent.futures.ThreadPoolExecutor(1)
    waiting = pool.submit(memory.take(50, 60).__enter__)
  with pool:
    assert waiting.result(60) is None


def test_moved_pictures_are_found_in_their_new_folder(index, tmp_path):
  only = dataclasses.replace(index, codes=index.codes[:1], ids=index.ids[:1])
  assert pictures.Pictures(only).problem() == ""
  moved = tmp_path / "moved"
  pathlib.Path(index.root).rename(moved)
  said = pictures.Pictures(only).problem()
  assert f"1 of 1 pictures that were looked for are not in {index.root}" in said
  found = pictures.Pictures(only, str(moved))
  assert found.problem() == "" and found.get(0, 320)[1] == "image/png"
