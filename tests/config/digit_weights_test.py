"""Tests of dsh_jax.config.digit_weights."""

import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import digits as config_file
from dsh_jax import errors
from dsh_jax.config import digit_weights, factories
from dsh_jax.data import digits
from dsh_jax.models import hash_network, pretrained

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def train(tmp_path_factory):
  """Function that trains weights for two steps on eight devices."""

  def train():
    folder = tmp_path_factory.mktemp("weights")
    with pytest.MonkeyPatch.context() as patch:
      patch.setattr(digit_weights, "_NUM_STEPS", 2)
      patch.setattr(digit_weights, "_NUM_IMAGES", 256)
      patch.setattr(digit_weights, "_NUM_SCORED", 20)
      digit_weights._main(folder)
    return folder

  return train


@pytest.fixture(scope="module")
def folder(train):
  """Trained weights."""
  return train()


@pytest.mark.long
def test_weights_made_twice_have_the_same_bits(folder, train):
  with (
    np.load(folder / "model.npz") as first,
    np.load(train() / "model.npz") as second,
  ):
    assert first.files == second.files
    for name in first.files:
      np.testing.assert_array_equal(first[name], second[name])


def test_the_file_loads_into_the_backbone(folder):
  path = str(folder / "model.npz")
  network = hash_network.create_network("tiny", num_outputs=4)
  variables = jax.eval_shape(
    network.init, jax.random.key(0), jnp.zeros((1, 48, 48, 3))
  )
  variables = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), variables)
  loaded = pretrained.load(path, "tiny", variables)
  with np.load(path) as file:
    kernel = file["hidden.weight"]
    np.testing.assert_array_equal(
      loaded["params"]["backbone"]["hidden"]["kernel"], kernel.T
    )
    np.testing.assert_array_equal(
      loaded["params"]["backbone"]["conv1"]["kernel"],
      file["conv1.weight"].transpose(2, 3, 1, 0),
    )
  assert not loaded["params"]["head"]["dense"]["kernel"].any()
  for leaf in jax.tree.leaves(loaded["batch_stats"]["backbone"]):
    assert np.isfinite(leaf).all()
  stats = pretrained.preprocessing(path, "tiny")
  assert stats == digit_weights.PREPROCESSING
  metadata = json.loads((folder / "config.json").read_text())
  assert 0 <= metadata["accuracy"] <= 1


def test_existing_weights_are_used(folder, tmp_path, monkeypatch):
  name = f"digits-v{digit_weights._VERSION}-jax{jax.__version__}"
  (tmp_path / "pretrained").mkdir()
  (tmp_path / "pretrained" / name).symlink_to(folder)
  monkeypatch.setattr(digit_weights.subprocess, "run", None)
  config = config_file.get_config("bits=4")
  config.data.dir = str(tmp_path)
  method = factories.create_method(config, 10)
  network = factories.create_network(config, method)
  tx = factories.create_optimizer(config, method, 10)
  state = factories.create_state(config, network, method, tx)
  with np.load(folder / "model.npz") as file:
    np.testing.assert_array_equal(
      state.params["backbone"]["hidden"]["kernel"], file["hidden.weight"].T
    )


@pytest.mark.parametrize("name", ["config.json", "model.npz"])
def test_damaged_weights_are_trained_again(folder, tmp_path, monkeypatch, name):
  version = f"digits-v{digit_weights._VERSION}-jax{jax.__version__}"
  copy = tmp_path / "pretrained" / version
  shutil.copytree(folder, copy)
  monkeypatch.setattr(digit_weights.subprocess, "run", _train)
  assert digit_weights.prepare("tiny", str(tmp_path))
  content = (copy / name).read_bytes()
  index = content.rindex(b"5")  # In a mean or a weight.
  (copy / name).write_bytes(content[:index] + b"6" + content[index + 1 :])
  with pytest.raises(_Trained):
    digit_weights.prepare("tiny", str(tmp_path))


class _Trained(Exception):
  """Raised instead of training for seconds."""


def _train(*arguments, **options):
  raise _Trained


def test_preprocessing_is_known_before_training(tmp_path):
  config = config_file.get_config()
  config.data.dir = str(tmp_path)
  config = factories.with_preprocessing(config)
  assert config.data.mean == digit_weights.PREPROCESSING.mean
  assert not list(tmp_path.iterdir())


def test_no_image_has_a_scan_of_queries_or_validation():
  scans_of = {
    split: {
      scan[0].tobytes() for scans in digits.load_scans(split) for scan in scans
    }
    for split in ("train", "validation", "query", "database")
  }
  assert scans_of["query"] == scans_of["database"]
  # A few of the 1,797 scans are duplicates.
  for split in ("validation", "query"):
    assert len(scans_of["train"] & scans_of[split]) <= 2


def test_another_backbone_is_refused(tmp_path):
  with pytest.raises(errors.UserError, match="start=cold"):
    digit_weights.prepare("resnet18", str(tmp_path))


@pytest.mark.parametrize(
  ("arg", "pretrained_from", "multipliers"),
  [
    ("", "digits", (("backbone", 0.1),)),
    ("start=warm", "digits", (("backbone", 0.1),)),
    ("method=dsrh,start=cold,bits=8", "", ()),
    ("backbone=resnet18", "", ()),
    ("method=idhn_release", "", (("backbone", 0.01),)),
  ],
)
def test_only_a_pretrained_backbone_has_a_multiplier(
  arg, pretrained_from, multipliers
):
  config = config_file.get_config(arg)
  assert config.model.pretrained == pretrained_from
  assert tuple(config.optimizer.multipliers) == multipliers


def test_an_unknown_start_is_refused():
  with pytest.raises(errors.UserError, match="warm, cold|cold, warm"):
    config_file.get_config("start=hot")
