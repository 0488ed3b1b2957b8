"""Encoding a folder, searching it, exporting the encoder."""

import html
import json
import os
import pathlib
import re
import resource
import shutil
import signal
import subprocess
import sys

import jax
import limits_test
import numpy as np
import pytest
import serve_test
from PIL import Image

import dsh_jax
from dsh_jax import errors
from dsh_jax.apps import (
  encode,
  evaluate,
  export,
  image_lists,
  pictures,
  search,
)
from dsh_jax.apps import index as index_lib
from dsh_jax.retrieval import codes, faiss_index, ties
from dsh_jax.runs import parts, trained
from dsh_jax.runs import workdir as workdir_lib

POSTGRES = sorted(pathlib.Path("/usr/lib/postgresql").glob("*/bin"))[-1:]


@pytest.fixture(scope="module")
def workdir(command):
  """A finished run whose data set is available."""
  with pytest.MonkeyPatch.context() as patch:
    patch.setenv("XDG_CACHE_HOME", command.environment["XDG_CACHE_HOME"])
    yield command.finished[0]


@pytest.fixture(scope="module")
def folder(workdir, tmp_path_factory):
  """Twelve images of the run's database as files, and what is no image."""
  folder = tmp_path_factory.mktemp("pictures")
  split = pictures.Pictures(index_lib.load(str(workdir / "codes.npz")))._split
  (folder / "sub").mkdir()
  for row, pixels in enumerate(split.take(np.arange(12))):
    name = f"{'sub/' * (row % 2)}{row:02d} é.PNG"
    Image.fromarray(pixels).save(folder / name, "png")
  (folder / "broken.jpg").write_bytes(b"no picture")
  (folder / "empty.png").touch()
  (folder / "notes.txt").write_text("not a picture")
  os.mkfifo(folder / "pipe.png")
  (folder / "endless.png").symlink_to("/dev/zero")
  (folder / "clear \x1b[2J\n.png").touch()
  shutil.copy(folder / "00 é.PNG", os.fsencode(folder) + b"/latin \xe9.png")
  return folder


@pytest.fixture(scope="module")
def encoded(command, workdir, folder):
  """Output files and printed text of the command."""
  out = folder.parent / "its codes.npz"
  process = command.start(
    "encode",
    f"--workdir={workdir}",
    f"--images={folder}",
    f"--out={out}",
    module="dsh_jax",
  )
  printed, err = process.communicate(timeout=300)
  assert process.returncode == 0, err
  return out, printed, err


def test_codes_of_files_are_those_of_the_run(workdir, encoded):
  index = index_lib.load(str(encoded[0]))
  assert len(index) == 12
  rows = [int(pathlib.Path(name).name[:2]) for name in index.ids]
  assert sorted(rows) == list(range(12))
  run = index_lib.load(str(workdir / "codes.npz"))
  np.testing.assert_array_equal(index.codes, run.codes[rows])


def test_unreadable_images_are_listed_and_skipped(encoded):
  out, printed, err = encoded
  assert "Encoding 18 images" in err
  assert "Left out broken.jpg: not a JPEG" in err and "empty.png" in err
  for name in ("pipe.png", "endless.png"):
    assert f"Left out {name}: Not a regular file\n" in err
  assert r"Left out clear \x1b[2J\n.png: not a JPEG" in err
  assert r"Left out latin \udce9.png: its path is not UTF-8" in err
  assert f"--index='{out}'" in printed
  with np.load(out, allow_pickle=False) as saved:
    assert len(saved["unreadable_ids"]) == 6
  assert not out.with_name("its codes.npz.parts").exists()


def test_encoding_resumes_after_a_kill(workdir, folder, encoded, tmp_path):
  class Killed(BaseException):
    pass

  class Dying(trained.TrainedRun):
    calls = 0

    def encode_with_outputs(self, items, batch_size=0):
      Dying.calls += 1
      if Dying.calls == 3:
        raise Killed
      return super().encode_with_outputs(items, batch_size)

  out = tmp_path / "codes.npz"
  arguments = str(workdir), str(folder), str(out)
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(parts, "ROWS", 5)
    patch.setattr(trained, "TrainedRun", Dying)
    with pytest.raises(Killed):
      encode.encode_pictures(*arguments)
    assert not out.exists()
    assert len(list(out.with_name("codes.npz.parts").glob("*.npz"))) == 2
    encode.encode_pictures(*arguments)
    assert Dying.calls == 5, "finished parts were encoded again"
  with np.load(out) as got, np.load(encoded[0]) as want:
    for name in want.files:
      np.testing.assert_array_equal(got[name], want[name])


def test_labels_are_kept_and_the_index_is_scored(
  workdir, folder, tmp_path, capsys
):
  split = pictures.Pictures(index_lib.load(str(workdir / "codes.npz")))._split
  names = [f"{'sub/' * (row % 2)}{row:02d} é.PNG" for row in range(12)]
  lines = [
    f"{name},{';'.join([*map(str, np.flatnonzero(labels)), 'strange'])}"
    for name, labels in zip(names, split.labels, strict=False)
  ]
  table, out = folder / "labels.csv", tmp_path / "codes.npz"
  table.write_text("\n".join(["file,labels", *lines]))
  encode.main([f"--workdir={workdir}", f"--images={table}", f"--out={out}"])
  table.unlink()
  said = capsys.readouterr().err
  assert "labels that the run lacks: strange" in said
  assert "Left out file" not in said  # The header.
  with np.load(out) as saved:
    assert saved["database_ids"].tolist() == names
    np.testing.assert_array_equal(saved["database_labels"], split.labels[:12])
  run = str(workdir / "codes.npz")
  for queries, database, sizes in ((run, out, (40, 12)), (out, run, (12, 200))):
    found = evaluate.evaluate_files(str(queries), str(database))
    assert (found["counts"]["queries"], found["counts"]["database"]) == sizes
  with pytest.raises(errors.UserError, match="lacks query_codes"):
    evaluate.evaluate_files(str(out))


def test_a_run_encodes_paths_and_arrays(workdir, folder, encoded):
  run, index = dsh_jax.load_run(str(workdir)), index_lib.load(str(encoded[0]))
  want = dict(zip(index.ids.tolist(), index.codes, strict=True))
  path = folder / "04 é.PNG"
  assert (run.encode(str(path)) == want[path.name]).all()
  pixels = np.asarray(Image.open(path))
  large = np.asarray(Image.open(path).resize((90, 70)))
  with Image.open(path) as image:
    np.testing.assert_array_equal(run.encode(image), want[path.name][None])
  found = run.encode([path, pixels, folder / "sub" / "01 é.PNG", large])
  assert found.shape == (4, 1)
  expected = [want[path.name], want[path.name], want["sub/01 é.PNG"]]
  np.testing.assert_array_equal(found[:3], expected)
  np.testing.assert_array_equal(run.encode(pixels), found[:1])
  for wrong, words in (
    (folder / "broken.jpg", "Cannot read .*broken.jpg: not a JPEG"),
    ([], "nothing to encode"),
    (5, "object of type int; give the path"),
    (None, "object of type NoneType; give the path"),
    ([None], "An image is of type object"),
    (pixels / 255.0, r"float64 and shape \(32, 32, 3\); it must be the path"),
  ):
    with pytest.raises(errors.UserError, match=words):
      run.encode(wrong)


def test_parts_of_other_images_are_not_reused(workdir, folder, tmp_path):
  out = tmp_path / "codes.npz"
  others = tmp_path / "codes.npz.parts"
  others.mkdir()
  (others / "000000000.npz").write_bytes(b"of something else")
  (others / "fingerprint").write_text("0" * 64)
  encode.encode_pictures(str(workdir), str(folder), str(out))
  assert len(index_lib.load(str(out))) == 12


def test_all_pages_of_an_upload_are_ordered_by_outputs(
  workdir, folder, tmp_path, monkeypatch
):
  pytest.importorskip("uvicorn", reason="the extra serve is not installed")
  from dsh_jax.apps import search_server

  out = tmp_path / "codes.npz"
  encode.encode_pictures(str(workdir), str(folder), str(out), True)
  index = index_lib.load(str(out))
  run = index_lib.load_encoder(index)
  path = folder / "04 é.PNG"
  query = index_lib.encode(run, np.asarray(Image.open(path)))
  rounded = query._replace(outputs=ties.round_outputs(query.outputs))
  want = [row for _, row in index.nearest(rounded, len(index))]
  monkeypatch.setattr(search_server, "_FOUND", 5)
  with limits_test.in_process(index, encoder=run) as (host, port):
    address = f"http://{host}:{port}"
    page = serve_test.upload(address, path.read_bytes())[2].decode()
    assert "outputs order them" in page
    seen = re.findall(r'href="/similar/(\d+)"', page)
    while links := re.findall(r'href="(/code/[^"]+)">Next', page):
      place = html.unescape(links[0])
      page = serve_test.ask(address, place)[2].decode()
      seen += re.findall(r'href="/similar/(\d+)"', page)
    for wrong in ("00", "zz", "7c00" * 16):
      place = f"{place.partition('?')[0]}?outputs={wrong}"
      assert serve_test.ask(address, place)[0] == 404, wrong
  assert [int(row) for row in seen] == want


def test_lists_of_images(folder, tmp_path):
  listed = folder / "list.txt"
  listed.write_text("00 é.PNG 1 0 0\nsub/01 é.PNG\n\n00 é.PNG 1 0 0\n", "utf-8")
  assert image_lists.find(str(listed)) == (folder, ["00 é.PNG", "sub/01 é.PNG"])
  table = folder / "list.csv"
  table.write_text('path,labels\n"00 é.PNG",a;b\ngone.png,a\n', "utf-8")
  assert image_lists.find(str(table))[1] == ["00 é.PNG", "gone.png"]
  listed.write_text(f"sub/01 é.PNG\n{folder.parent}/elsewhere/b.png\n", "utf-8")
  names = [f"{folder.name}/sub/01 é.PNG", "elsewhere/b.png"]
  assert image_lists.find(str(listed)) == (folder.parent, names)
  listed.unlink(), table.unlink()


@pytest.mark.parametrize(
  "changed, words",
  [
    ({"--images": "nowhere"}, "neither a folder nor a list"),
    ({"--images": "EMPTY"}, "has no images"),
    ({"--images": "PIPE"}, "Not a regular file"),
    ({"--images": "BROKEN"}, "None of the 1 images"),
    ({"--out": "codes.txt"}, "ends in .npz"),
    ({"--workdir": "nowhere"}, "does not hold a finished run"),
    ({"--out": "/proc/no/codes.npz"}, "Cannot write --out"),
    ({"--out": "nu\udcff.npz"}, r"--out=nu\\udcff.npz is not UTF-8. Rename"),
    ({"--workdir": "wd\udcff"}, r"--workdir=wd\\udcff is not UTF-8. Rename"),
  ],
)
def test_wrong_input_is_a_one_line_error(
  changed, words, workdir, folder, tmp_path
):
  (tmp_path / "empty").mkdir()
  (tmp_path / "broken").mkdir()
  shutil.copy(folder / "broken.jpg", tmp_path / "broken")
  os.mkfifo(tmp_path / "pipe")
  places = {
    name: tmp_path / name.lower() for name in ("EMPTY", "BROKEN", "PIPE")
  }
  flags = {
    "--workdir": workdir,
    "--images": folder,
    "--out": tmp_path / "codes.npz",
  } | {flag: places.get(value, value) for flag, value in changed.items()}
  with pytest.raises(errors.UserError, match=words):
    encode.main([f"{flag}={value}" for flag, value in flags.items()])
  assert not (tmp_path / "codes.npz").exists()


def test_search_finds_the_query_itself(
  workdir, folder, encoded, capsys, tmp_path
):
  query = folder / "04 é.PNG"
  page = tmp_path / "found.html"
  for index in (encoded[0], workdir / "codes.npz"):
    search.main(
      [f"--index={index}", f"--query={query}", "--top=3", f"--html={page}"]
    )
    lines = capsys.readouterr().out.splitlines()
    has_labels = index_lib.load(str(index)).labels is not None
    head = ["rank", "distance", "image", *["labels"] * has_labels]
    assert lines[0].split() == head
    ranked = [line.split(maxsplit=2) for line in lines[1:4]]
    distances = [int(distance) for _, distance, _ in ranked]
    assert distances[0] == 0 and distances == sorted(distances)
    assert [rank for rank, _, _ in ranked] == ["1", "2", "3"]
    text = page.read_text()
    assert [path.name for path in tmp_path.iterdir()] == ["found.html"]
    assert text.count("<img") == 4 and text.count("data:image/") == 4
    assert "<script" not in text and "://" not in text
  name = {line.split(maxsplit=2)[2] for line in lines[1:4]}
  assert all("/" in one for one in name)


@pytest.mark.parametrize(
  "flags, words",
  [
    (["--query=gone.png"], "Cannot read --query=gone.png"),
    (["--query={folder}/broken.jpg"], "not a JPEG"),
    (["--query={folder}/04 é.PNG", "--top=0"], "--top=0: 0 is not a positive"),
    (["--query=x", "--tpo=3"], "Did you mean '--top'"),
    (["--query=x", "--index=x.npz"], "cannot be read as an index"),
    (["--query=x", "--index={folder}/broken.jpg"], "cannot be read as an"),
    ([], "--query"),
  ],
)
def test_wrong_searches_are_one_line_errors(flags, words, encoded, folder):
  given = [flag.format(folder=folder) for flag in flags]
  with pytest.raises(errors.UserError, match=words):
    search.main([f"--index={encoded[0]}", *given])


def test_a_changed_mean_is_refused(workdir, tmp_path):
  """It would encode every picture to other codes."""
  run = tmp_path / "run"
  shutil.copytree(workdir, run)
  path = run / "config.json"
  held = workdir_lib.Workdir(run).read_json("config.json")
  text = path.read_text()
  path.write_text(text.replace('"bits": 16', '"bits": 17'))
  with pytest.raises(errors.UserError, match="config.json was changed after"):
    trained.load_run(str(run))
  held["data.mean"][0] += 0.1
  workdir_lib.Workdir(run).write_json("config.json", held)
  with pytest.raises(
    errors.UserError, match=r"another configuration: config.data.mean was \["
  ):
    trained.load_run(str(run))


@pytest.fixture(scope="module")
def taken(workdir, tmp_path_factory):
  """The folder that the command exported."""
  out = tmp_path_factory.mktemp("export") / "away"
  export.main([f"--workdir={workdir}", f"--out={out}"])
  return out


def test_an_export_that_fails_leaves_nothing(workdir, tmp_path, monkeypatch):
  monkeypatch.setattr(export, "export_encoder", lambda run: b"")  # Saves time.
  before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
  soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
  resource.setrlimit(resource.RLIMIT_FSIZE, (4000, hard))  # A full disk.
  try:
    with pytest.raises(errors.UserError, match="Cannot write to --out"):
      export.write(str(workdir), str(tmp_path / "away"))
  finally:
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    signal.signal(signal.SIGXFSZ, before)
  assert not list(tmp_path.iterdir())


def test_the_exported_encoder_returns_the_codes_of_the_run(workdir, taken):
  exported = jax.export.deserialize(
    bytearray((taken / "encoder.stablehlo").read_bytes())
  )
  assert exported.platforms == ("cpu", "cuda", "tpu")
  split = pictures.Pictures(index_lib.load(str(workdir / "codes.npz")))._split
  images = split.take(np.arange(64))
  want = trained.load_run(str(workdir)).encode(images)
  for count in (64, 1, 7):
    got = np.asarray(exported.call(images[:count]))
    assert got.dtype == np.uint32
    np.testing.assert_array_equal(got, want[:count])


def test_the_loader_encodes_files_as_the_run_does(workdir, taken, tmp_path):
  """In a process where neither this package nor Flax can be imported."""
  rng = np.random.default_rng(0)
  pixels = Image.fromarray(rng.integers(0, 256, (50, 70, 4), np.uint8))
  pixels.save(tmp_path / "clear.png")
  exif = Image.Exif()
  exif[0x0112] = 6
  pixels.convert("RGB").save(tmp_path / "turned.jpg", exif=exif)
  paths = [str(tmp_path / name) for name in ("clear.png", "turned.jpg")]
  code = (
    "import sys; sys.modules['flax'] = sys.modules['dsh_jax'] = None\n"
    "import runpy; sys.argv = sys.argv[1:]\n"
    "runpy.run_path(sys.argv[0], run_name='__main__')"
  )
  out = subprocess.run(
    [sys.executable, "-c", code, str(taken / "load_encoder.py"), *paths],
    cwd=tmp_path,
    capture_output=True,
    text=True,
    timeout=100,
    check=True,
  ).stdout
  want = trained.load_run(str(workdir)).encode(paths)
  assert out.splitlines() == [
    " ".join([path, *map(str, row)])
    for path, row in zip(paths, want, strict=True)
  ]
  about = json.loads((taken / "about.json").read_text())
  assert "by white" in about["before_the_encoder"]
  assert "(0.5, 0.5, 0.5)" in about["in_the_encoder"]
  assert "by the rule 'squash'" in (taken / "load_encoder.py").read_text()


def test_all_forms_hold_the_same_codes(workdir, taken):
  about = json.loads((taken / "about.json").read_text())
  assert (about["bits"], about["image_size"]) == (16, 32)
  index = index_lib.load(str(taken / "codes.npz"), str(workdir))
  text = (taken / "codes.sql").read_text()
  bits = codes.unpack(index.codes, 16).astype(int)
  for name, row in zip(index.ids, bits, strict=True):
    assert f"('{name}', B'{''.join(map(str, row))}')" in text
  pytest.importorskip("faiss", reason="faiss-cpu is not installed")
  packed, num_bits = faiss_index.read_index(taken / "codes.faiss", 16)
  assert num_bits == 16
  np.testing.assert_array_equal(packed, index.codes)


@pytest.mark.skipif(
  not POSTGRES or not shutil.which("runuser"),
  reason="no PostgreSQL server is installed",
)
def test_postgres_loads_the_codes(tmp_path_factory, tmp_path):
  """Without pgvector: bit(K) is PostgreSQL's own type."""
  packed = codes.pack(np.random.default_rng(0).standard_normal((2100, 48)))
  names = np.array([f"it's \\{n}" for n in range(2100)])
  index = index_lib.Index(packed, names, 48, "", "")
  script = "\n".join(export.sql(index))
  query = "SELECT p.id, bit_count(p.code # q.code) AS d FROM pictures p, "
  query += "(SELECT code FROM pictures WHERE id = 'it''s \\7') q "
  query += "ORDER BY d, p.id LIMIT 5"
  shell = f"""
    set -e
    cd "$(mktemp -d)"
    trap '{POSTGRES[0]}/pg_ctl -D db -m immediate stop >&2; rm -rf "$PWD"' EXIT
    {POSTGRES[0]}/initdb -D db -A trust -N >&2
    {POSTGRES[0]}/pg_ctl -D db -w -l log -o \\
      "-k $PWD -c listen_addresses= -c fsync=off" start >&2
    {POSTGRES[0]}/psql -h "$PWD" -v ON_ERROR_STOP=1 -q -f - postgres
  """
  done = subprocess.run(
    ["runuser", "-u", "postgres", "--", "bash", "-c", shell],
    input=f"{script}\n\\pset format unaligned\n\\pset tuples_only\n{query};\n",
    capture_output=True,
    text=True,
    timeout=100,
    cwd="/",
  )
  assert done.returncode == 0, done.stderr
  rows = [line.split("|") for line in done.stdout.splitlines() if "|" in line]
  want = sorted(
    (bin(int(a) ^ int(c)).count("1") + bin(int(b) ^ int(d)).count("1"), name)
    for (a, b), (c, d), name in zip(
      packed, [packed[7]] * len(packed), names.tolist(), strict=True
    )
  )
  assert [int(d) for _, d in rows] == [distance for distance, _ in want[:5]]
  assert rows[0][0] == "it's \\7"
