"""The search page, as a real server on this machine."""

import concurrent.futures
import contextlib
import dataclasses
import io
import re
import urllib.error
import urllib.request

import numpy as np
import pytest
from PIL import ExifTags, Image

from dsh_jax import errors
from dsh_jax.apps import index as index_lib
from dsh_jax.apps import pictures, serve

pytest.importorskip("uvicorn", reason="the extra serve is not installed")
from starlette import requests  # noqa: E402

from dsh_jax.apps import search_server, uploads  # noqa: E402


@contextlib.contextmanager
def started(command, index, *more, said=None):
  """Start the command and yield its address; adds what it said to a list."""
  process = command.start(
    "serve", f"--index={index}", "--port=0", *more, module="dsh_jax"
  )
  try:
    line = process.stdout.readline()
    assert line.startswith("Open http://127.0.0.1:"), process.stderr.read()
    yield line.split()[1]
  finally:
    process.terminate()
    _, err = process.communicate(timeout=60)
    if said is not None:
      said.append(err)


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


def upload(address, content, name="a <b>.png", field="picture", **headers):
  """Post a file as a browser does."""
  body = (
    f'--edge\r\nContent-Disposition: form-data; name="{field}";'
    f' filename="{name}"\r\nContent-Type: image/png\r\n\r\n'
  ).encode() + content
  kind = "multipart/form-data; boundary=edge"
  headers["Content-Type"] = kind
  return ask(address, "/search", body + b"\r\n--edge--\r\n", **headers)


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
  request.add_header("Content-Length", str(uploads.MAX_BYTES + 1))
  with pytest.raises(urllib.error.HTTPError) as caught:
    urllib.request.urlopen(request, timeout=60)
  assert caught.value.code == 413
  caught.value.close()


def test_only_images_of_the_index_are_served(address):
  for path in ("/picture/200", "/similar/200", "/picture/x", "/etc/passwd"):
    assert ask(address, path)[0] == 404
  for number in ("9" * 5000, "1" + "0" * 30, "-1", "%C2%B2", "1e3", "%00"):
    for path in (
      "picture/",
      "large/",
      "similar/",
      "code/",
      "find?label=1&first=",
    ):
      assert ask(address, f"/{path}{number}")[0] == 404, path
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
  said = []
  with started(command, index, said=said) as address:
    status, _, page = ask(address, "/")
    assert status == 200 and b"Images cannot be uploaded" in page
    assert b'type="file"' not in page and str(tmp_path).encode() not in page
    assert ask(address, "/similar/3")[0] == 200
    status, _, page = ask(address, "/picture/3")
    assert status == 404 and str(tmp_path).encode() not in page
    assert upload(address, b"x")[0] == 503
  assert f"Images cannot be uploaded: --workdir={tmp_path}/gone" in said[0]
  assert (
    f"200 of 200 pictures that were looked for are not in {tmp_path}, the"
    in (said[0])
  )
  assert "give their folder by --images=FOLDER." in said[0]


def test_pages_of_other_sites_cannot_upload(address):
  _, _, picture = ask(address, "/picture/7")
  for name, value, status in (
    ("Origin", "https://elsewhere.example", 403),
    ("Origin", "null", 403),
    ("Origin", address, 200),
    ("Sec-Fetch-Site", "cross-site", 403),
    ("Sec-Fetch-Site", "same-site", 403),
    ("Sec-Fetch-Site", "same-origin", 200),
  ):
    assert upload(address, picture, **{name: value})[0] == status, (name, value)


def test_only_addresses_and_names_of_this_machine_are_hosts(address):
  for host, status in (
    ("[::1]:8000", 200),
    ("192.168.0.7", 200),
    ("LOCALHOST:1", 200),
    ("", 400),
    ("[::1", 400),
    ("localhost.elsewhere.example", 400),
  ):
    assert ask(address, "/picture/1", Host=host)[0] == status, host


def test_a_picture_that_takes_too_much_memory_is_refused(address):
  exif = Image.Exif()
  exif[ExifTags.Base.Orientation] = 6
  buffer = io.BytesIO()
  Image.new("1", (10_000, 10_000)).save(buffer, "PNG", exif=exif)
  status, _, page = upload(address, buffer.getvalue())
  assert status == 415 and b"decoding takes 916 MiB, at most 512" in page


def test_all_ties_of_an_uploaded_image_can_be_seen(address):
  _, _, picture = ask(address, "/picture/7")
  _, _, page = upload(address, picture)
  seen, page = [], page.decode()
  for _ in range(9):
    seen += re.findall(r'href="/similar/(\d+)"', page)
    assert 'href="/code/' in page and "of 200" in page
    (link, *_) = re.findall(r'href="(/code/[^"]+)">Next', page) or [""]
    if link:
      last = re.findall(r"distance (\d+)", page)[-1]
      page = ask(address, link)[2].decode()
  assert not link and sorted(map(int, seen)) == list(range(200))
  assert last.isdecimal()


def test_labels_are_shown_and_shared_ones_framed(address, command):
  index = index_lib.load(str(command.finished[0] / "codes.npz"))
  page = ask(address, "/similar/5")[2].decode()
  hits = re.findall(
    r'class="hit s(\d)" href="/similar/(\d+)".*?(\d+) shared', page, re.S
  )
  assert len(hits) == 24
  for frame, row, shared in hits:
    number = len({*index.labels_of(5)} & {*index.labels_of(int(row))})
    assert (int(frame), int(shared)) == (min(number, 3), number)


def test_items_are_found_by_name_and_label(address, command):
  index = index_lib.load(str(command.finished[0] / "codes.npz"))
  name = index.ids[9]
  status, _, page = ask(address, f"/find?name={name}")
  assert status == 200 and f"Query: {name}" in page.decode()
  _, _, page = ask(address, f"/find?name={name[-3:].upper()}&label=")
  assert name in page.decode()
  _, _, page = ask(address, "/find?label=3")
  number = sum("3" in index.labels_of(row) for row in range(200))
  assert f"{number} with the label" in page.decode()
  assert ask(address, "/find?label=%3Cb%3E")[0] == 404
  index = dataclasses.replace(index, class_names=("Sea", *"bcdefghij"))
  rows = index.find("", "sEA").tolist()
  assert rows == np.flatnonzero(index.labels[:, 0]).tolist() and rows
  served = search_server.Server(index, pictures.Pictures(index), None)
  request = requests.Request(
    {"type": "http", "query_string": b"label=Seas", "headers": []}
  )
  assert b"Labels of similar names: Sea." in served.find(request).body


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
