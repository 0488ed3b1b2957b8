"""What a run says and checks before it trains, and when it is repeated."""

import pathlib
import shutil

import fake_archives
import jax
import numpy as np
import pytest

from configs import features as features_config
from configs import listfile as listfile_config
from dsh_jax import errors, parallel, train
from dsh_jax.config import factories
from dsh_jax.runs import summary

pytestmark = pytest.mark.slow

SMALL = {
  "train.batch_size": 32,
  "train.num_epochs": 1,
  "train.validate_every_epochs": 1,
  "tensorboard": False,
}


def _frozen(folder, options):
  config = listfile_config.get_config("method=dpsh,bits=8,backbone=tiny")
  config.update_from_flattened_dict(
    SMALL
    | {"data.image_size": 16, "data.crop_size": 16, "data.crop_padding": 0}
    | {"data.dir": str(folder / "data"), "data.resize": "squash"}
    | {"model.frozen": True, "eval.batch_size": 8}
    | {f"data.{name}": value for name, value in options.items()}
  )
  return config


def test_a_finished_run_is_not_returned_for_other_pictures(tmp_path, capsys):
  options = fake_archives.csv(tmp_path)
  config, run = _frozen(tmp_path, options), str(tmp_path / "run")
  result = train.train_and_evaluate(config, run)
  assert result["seconds"]["features"] > 0
  rate = f"{result['features_per_sec']:.0f} images/s"
  assert f"({rate}), training" in summary.table(result)
  printed = capsys.readouterr().err
  assert printed.index("Data: ") < printed.index("tiny: features of 60 images")
  again = train.train_and_evaluate(config, run)
  assert again["metrics"] == result["metrics"]
  assert capsys.readouterr().err == ""
  picture = tmp_path / "pictures" / "000.jpg"
  picture.touch()  # Another time, the same picture.
  assert train.train_and_evaluate(config, run) == again
  picture.write_bytes(fake_archives.jpeg(99))
  with pytest.raises(errors.UserError, match="pixels.* another --workdir"):
    train.train_and_evaluate(config, run)
  capsys.readouterr()
  shutil.rmtree(tmp_path / "pictures")
  assert train.train_and_evaluate(config, run) == again
  assert "they were not compared" in capsys.readouterr().err.splitlines()[-1]


def test_a_finished_run_is_not_returned_for_other_features(tmp_path):
  rng = np.random.default_rng(0)
  arrays = {
    "features": rng.standard_normal((60, 4), np.float32),
    "labels": np.arange(60) % 3,
  }
  path = tmp_path / "x.npz"
  np.savez(path, **arrays)
  config = features_config.get_config("method=dpsh,bits=8")
  config.update_from_flattened_dict(SMALL | {"data.features": str(path)})
  result = train.train_and_evaluate(config, str(tmp_path / "run"))
  np.savez(path, **arrays)
  again = train.train_and_evaluate(config, str(tmp_path / "run"))
  assert again["metrics"] == result["metrics"]
  np.savez(path, **arrays | {"labels": arrays["labels"][::-1]})
  with pytest.raises(errors.UserError, match="other data.* --workdir"):
    train.train_and_evaluate(config, str(tmp_path / "run"))


def test_a_changed_file_in_a_folder_of_features_is_seen(tmp_path):
  config = features_config.get_config()
  config.data.features = str(tmp_path)
  (tmp_path / "0.parquet").write_bytes(b"a")
  before = factories.data_source(config)
  assert factories.data_source(config) == before
  (tmp_path / "0.parquet").write_bytes(b"ab")
  assert factories.data_source(config) != before


def test_what_was_left_out_is_said_before_the_batch_is_too_large(
  tmp_path, capsys
):
  options = fake_archives.csv(tmp_path)
  path = pathlib.Path(options["csv"])
  lines = path.read_text().splitlines()
  bare = [line.split(",")[0] + "," for line in lines[-45:]]
  path.write_text("\n".join([*lines[:-45], *bare]))
  with pytest.raises(errors.UserError, match="number of training images, 1"):
    train.train_and_evaluate(_frozen(tmp_path, options), str(tmp_path / "run"))
  printed = capsys.readouterr().err
  assert "Left out of 60 listed: 45 without a label" in printed
  assert "features of" not in printed
  assert not (tmp_path / "run").exists()


def test_a_large_batch_under_pmap_is_advised_to_be_under_jit():
  assert '"jit" divides the pairs' in parallel.DeviceMesh().advice(16_384)
  assert not parallel.DeviceMesh().advice(8192)
  assert not parallel.DeviceMesh("jit").advice(16_384)
  assert not parallel.DeviceMesh("pmap", jax.devices()[:1]).advice(16_384)
