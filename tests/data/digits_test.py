"""The embedded data set, built in processes without TensorFlow."""

import collections
import functools
import hashlib
import itertools
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest

from dsh_jax import data
from dsh_jax.data import checked, digits

_BUILD = """
import sys
sys.path.insert(0, {tests!r})
import without_tensorflow
without_tensorflow.hide()
from dsh_jax import data
splits = data.load_splits()
assert "tensorflow" not in sys.modules
print(sorted(splits.sha256.items()))
"""


@pytest.fixture(scope="module")
def built(tmp_path_factory):
  """Folder and outputs of two processes that build it at the same time."""
  folder = tmp_path_factory.mktemp("cache")
  code = _BUILD.format(tests=str(pathlib.Path(__file__).parents[1]))
  environment = {**os.environ, "XDG_CACHE_HOME": str(folder)}
  processes = [
    subprocess.Popen(
      [sys.executable, "-W", "error", "-c", code],
      env=environment,
      stdout=subprocess.PIPE,
      stderr=subprocess.PIPE,
      text=True,
    )
    for _ in range(2)
  ]
  outputs = [process.communicate(timeout=240) for process in processes]
  assert [process.returncode for process in processes] == [0, 0], outputs
  return folder / "dsh_jax", outputs


@pytest.fixture(scope="module")
def splits(built):
  return data.load_splits(data_dir=str(built[0]))


@pytest.mark.slow
def test_two_processes_agree_and_are_quiet(built, splits):
  folder, outputs = built
  assert outputs[0][0] == outputs[1][0] == f"{sorted(splits.sha256.items())}\n"
  lines = [line for _, stderr in outputs for line in stderr.splitlines()]
  # One built; the other waited or came late.
  assert sorted(lines)[-1] == "dsh_digits: decoding 15,000 images"
  assert set(lines[:-1]) <= {
    "Waiting for another process that is preparing the same data.",
    "dsh_digits: decoding 15,000 images",
  }
  assert len(list(folder.glob("arrays/*-v2-????????"))) == 1
  assert not list(folder.glob("arrays/*partial*"))


def test_sizes_and_types(splits):
  sizes = {"train": 4000, "validation": 500, "query": 500, "database": 10000}
  for name, size in sizes.items():
    split = getattr(splits, name)
    assert len(split) == len(split.ids) == size
    assert split.labels.shape == (size, 10)
    assert split.labels.dtype == np.uint8
    assert isinstance(split.images, checked.CheckedArray)
    assert all(item.startswith(name) for item in split.ids)
    images = split.take(np.array([0, size - 1]))
    assert images.shape == (2, 48, 48, 3) and images.dtype == np.uint8
  assert splits.class_names == tuple("0123456789")
  assert splits.num_classes == 10
  assert splits.train_in_database is False


def test_fewer_images_come_from_the_same_groups(built):
  load = functools.partial(data.load_splits, data_dir=str(built[0]))
  fewer = load(num_train=400, num_database=900)
  assert (len(fewer.train), len(fewer.validation)) == (400, 500)
  assert (len(fewer.query), len(fewer.database)) == (500, 900)
  assert fewer.train_in_database is False
  for name in ("train", "validation", "query", "database"):
    ids = getattr(fewer, name).ids
    assert all(item.startswith(name) for item in ids)
  assert len(load(num_validation=0).validation) == 0


def test_composition_follows_its_rules(splits):
  counts = splits.database.labels.sum(axis=1, dtype=int)
  shares = np.bincount(counts, minlength=5)[1:] / len(counts)
  np.testing.assert_allclose(shares, [0.2, 0.3, 0.3, 0.2], atol=0.02)
  np.testing.assert_allclose(splits.database.labels.mean(0), 0.25, atol=0.02)


def test_no_scan_is_in_two_groups():
  scans = {
    split: collections.Counter(
      hashlib.sha256(sizes[0]).hexdigest()
      for digit in digits.load_scans(split)
      for sizes in digit
    )
    for split in ("train", "validation", "query", "database")
  }
  assert scans["query"] == scans["database"]
  groups = [scans[name] for name in ("train", "validation", "query")]
  assert sum(sum(group.values()) for group in groups) == 1797
  for one, other in itertools.combinations(groups, 2):
    assert not one & other


def test_the_data_are_the_published_ones(splits):
  """A new value here is a new version of the builder, and new numbers."""
  digest = hashlib.sha256(splits.query.take(np.arange(500)).tobytes())
  assert digest.hexdigest()[:16] == "68bca05a44f14e69"
  assert splits.sha256["query"][:16] == "0ba9e24bcde3f309"
