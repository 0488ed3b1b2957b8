"""The search page, as a real server on this machine."""

import concurrent.futures
import contextlib
import io
import urllib.error
import urllib.request

import numpy as np
import pytest
from PIL import Image

from dsh_jax import errors
from dsh_jax.apps import serve

pytest.importorskip("uvicorn", reason="the extra serve is not installed")


@contextlib.contextmanager
def started(command, index, *more):
  """Start the command and yield its address."""
  process = command.start(
    f"--index={index}", "--port=0", *more, module="dsh_jax.apps.serve"
  )
  try:
    line = process.stdout.readline()
    assert line.startswith("Open http://127.0.0.1:"), process.stderr.read()
    yield line.split()[1]
  finally:
    process.terminate()
    process.communicate(timeout=60)


@pytest.fixture(scope="module")
def address(command):
  """The address of a server for the finished run's database."""
  with started(command, command.finished[0] / "codes.npz") as address:
    yield address


def ask(address, path, data=None, **headers):
  """Return (status, headers, bytes)."""
  request = urllib.request.Request(address + path, data, headers)
  try:
    with urllib.request.urlopen(request, timeout=60) as answer:
      return answer.status, answer.headers, answer.read()
  except urllib.error.HTTPError as error:
    return error.code, error.headers, error.read()


def upload(address, content, name="a <b>.png", field="picture"):
  """Post a file as a browser does."""
  body = (
    f'--edge\r\nContent-Disposition: form-data; name="{field}";'
    f' filename="{name}"\r\nContent-Type: image/png\r\n\r\n'
  ).encode() + content
  kind = "multipart/form-data; boundary=edge"
  return ask(
    address, "/search", body + b"\r\n--edge--\r\n", **{"Content-Type": kind}
  )


def test_the_page_shows_images_to_choose(address):
  status, headers, page = ask(address, "/")
  assert status == 200 and headers["X-Frame-Options"] == "DENY"
  assert page.count(b"<img") == 24 and b"<script" not in page
  status, headers, content = ask(address, "/picture/3")
  assert (status, headers["Content-Type"]) == (200, "image/png")
  assert Image.open(io.BytesIO(content)).size == (32, 32)


def test_an_image_is_its_own_nearest_neighbour(address):
  status, _, page = ask(address, "/similar/5")
  assert status == 200
  # Others may share its code; those of lower row come first.
  first = page.decode().split("Nearest first")[1]
  assert first.index("distance 0") < first.index("distance", 500)
  assert 'src="/picture/' in first


def test_an_uploaded_image_is_searched(address):
  _, _, picture = ask(address, "/picture/7")
  status, _, page = upload(address, picture)
  text = page.decode()
  assert status == 200 and "a &lt;b&gt;.png" in text and "<b>" not in text
  assert "distance 0" in text and "data:image/png" in text


def test_uploads_that_are_not_images_are_refused(address):
  for content in (b"", b"GIF89a", b"\x89PNG\r\n\x1a\n" + bytes(1000)):
    status, _, page = upload(address, content)
    assert status == 415 and b"not an image" in page
  assert upload(address, b"x", field="other")[0] == 400
  assert ask(address, "/search", b"{}")[0] == 400
  assert ask(address, "/search")[0] == 405


def test_large_uploads_are_refused_before_they_are_read(address):
  request = urllib.request.Request(address + "/search", b"x")
  request.add_header("Content-Length", str(serve.MAX_UPLOAD_BYTES + 1))
  with pytest.raises(urllib.error.HTTPError) as caught:
    urllib.request.urlopen(request, timeout=60)
  assert caught.value.code == 413
  caught.value.close()


def test_only_images_of_the_index_are_served(address):
  for path in ("/picture/200", "/similar/200", "/picture/x", "/etc/passwd"):
    assert ask(address, path)[0] == 404
  assert ask(address, "/picture/..%2f..%2fcodes.npz")[0] == 404
  assert ask(address, "/", Host="elsewhere.example")[0] == 400


def test_concurrent_requests_get_the_same_answer(address):
  _, _, picture = ask(address, "/picture/7")
  with concurrent.futures.ThreadPoolExecutor(16) as pool:
    uploads = [pool.submit(upload, address, picture) for _ in range(32)]
    others = [
      pool.submit(ask, address, f"/{kind}/{row}")
      for row in range(100)
      for kind in ("picture", "similar")
    ]
    answers = {task.result()[::2] for task in uploads}
    assert len(answers) == 1
    assert all(task.result()[0] == 200 for task in others)


def test_without_the_run_it_still_shows_neighbours(command, tmp_path):
  with np.load(command.finished[0] / "codes.npz") as saved:
    held = {name: saved[name] for name in saved.files}
  index = tmp_path / "codes.npz"
  np.savez(index, **held, root=str(tmp_path), workdir=str(tmp_path / "gone"))
  with started(command, index) as address:
    status, _, page = ask(address, "/")
    assert status == 200 and b"Images cannot be uploaded" in page
    assert b"<form" not in page
    assert ask(address, "/similar/3")[0] == 200
    assert ask(address, "/picture/3")[0] == 404
    assert upload(address, b"x")[0] == 503


@pytest.mark.parametrize(
  "flags, words",
  [
    (["--host=example.org"], "must be an address"),
    (["--port=99999"], "Cannot listen on port 99999"),
    (["--index=nothing.npz"], "cannot be read as an index"),
  ],
)
def test_wrong_flags_are_one_line_errors(flags, words, command, tmp_path):
  with np.load(command.finished[0] / "codes.npz") as saved:
    held = {name: saved[name] for name in saved.files}
  index = tmp_path / "codes.npz"
  np.savez(index, **held, root="", workdir=str(tmp_path))
  with pytest.raises(errors.UserError, match=words):
    serve.main([f"--index={index}", *flags])
