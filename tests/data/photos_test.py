"""The data sets of photographs, on stand-ins with the real layout."""

import pathlib
import zipfile

import fake_archives
import numpy as np
import pytest
from PIL import Image

from dsh_jax import data, errors
from dsh_jax.data import mirflickr25k

NUMBERS = dict(num_train=20, num_query=5, num_validation=4)


def _load(name, folder, options, protocol="", **more):
  return data.load_splits(
    name, protocol, str(folder / "data"), 16, **{**options, **more}
  )


def _all_labels(splits):
  """Return {id: set of label names} of queries and database."""
  parts = splits.query, splits.database, splits.train, splits.validation
  return {
    item: {splits.class_names[n] for n in np.flatnonzero(row)}
    for split in parts
    for item, row in zip(split.ids, split.labels, strict=True)
  }


@pytest.mark.parametrize("zipped", [False, True])
def test_mirflickr25k(tmp_path, zipped):
  options = fake_archives.mirflickr25k(tmp_path, zipped=zipped) | NUMBERS
  splits = _load("mirflickr25k", tmp_path, options, "hyp2")
  assert splits.class_names == mirflickr25k.CLASS_NAMES
  assert splits.class_names == tuple(sorted(splits.class_names))
  assert splits.num_classes == 38
  labels = _all_labels(splits)
  assert len(labels) == 59 and "im7" not in labels
  assert splits.notes["unlabelled"] == 1
  for name in splits.class_names:
    found = {item for item, names in labels.items() if name in names}
    assert found == _lines_of(tmp_path, name, zipped)

  kept = _load(
    "mirflickr25k", tmp_path, options, "deephash-pytorch", num_database=35
  )
  assert kept.notes["unlabelled_kept"] and len(_all_labels(kept)) == 60

  fewer = _load("mirflickr25k", tmp_path, options, "hyp2", labels="24")
  assert fewer.num_classes == 24
  assert not any(name.endswith("_r1") for name in fewer.class_names)
  two = _load(
    "mirflickr25k",
    tmp_path,
    options | dict(num_train=4, num_query=1, num_validation=0),
    "hyp2",
    labels="sky;sea",
  )
  assert two.class_names == ("sky", "sea")


def _lines_of(folder, name, zipped):
  path = "mirflickr25k_annotations_v080"
  if zipped:
    with zipfile.ZipFile(folder / f"{path}.zip") as archive:
      text = archive.read(f"{name}.txt").decode()
  else:
    text = (folder / path / f"{name}.txt").read_text()
  return {f"im{number}" for number in text.split()}


@pytest.mark.parametrize(
  ("path", "content", "words"),
  [
    ("sea.txt", None, "no file sea.txt in"),
    ("sky.txt", b"3\n61\n", "Line 2 of .*sky.txt is '61'"),
    ("sky.txt", b"3\nx\n", "Line 2 of .*sky.txt is 'x'"),
    ("sky.txt", "3\n²\n".encode(), "Line 2 of"),
    ("sky.txt", b"\xff\xfe3", "not UTF-8"),
    ("animals.txt", None, "Found none of .*liacs.nl"),
  ],
)
def test_mirflickr25k_with_a_bad_label_file(tmp_path, path, content, words):
  options = fake_archives.mirflickr25k(tmp_path) | NUMBERS
  full = tmp_path / "mirflickr25k_annotations_v080" / path
  full.unlink()
  if content is not None:
    full.write_bytes(content)
  with pytest.raises(errors.UserError, match=words):
    _load("mirflickr25k", tmp_path, options)


def test_absent_images_are_counted_or_stop_the_build(tmp_path):
  options = fake_archives.mirflickr25k(tmp_path, 110) | NUMBERS
  (tmp_path / "mirflickr" / "im5.jpg").unlink()
  splits = _load("mirflickr25k", tmp_path, options)
  assert splits.notes["absent"] == 1 and splits.notes["listed"] == 110
  assert "im5" not in _all_labels(splits)

  (tmp_path / "mirflickr" / "im6.jpg").unlink()
  other = tmp_path / "other"
  with pytest.raises(errors.UserError, match="2 of 110 .*im5.jpg.*1.0%"):
    _load("mirflickr25k", other, options)
  assert _load("mirflickr25k", other, options, max_missing=0.1)


def test_images_of_unexpected_formats(tmp_path):
  """PNG in .jpg, CMYK, grey, and an image upside down."""
  options = fake_archives.mirflickr25k(tmp_path) | NUMBERS
  image = Image.new("RGB", (30, 40), (200, 100, 0))
  exif = Image.Exif()
  exif[0x0112] = 3
  for number, encoded in enumerate(
    (
      fake_archives.encode(image, "PNG"),
      fake_archives.encode(image.convert("CMYK")),
      fake_archives.encode(image.convert("L")),
      fake_archives.encode(image, exif=exif),
    ),
    1,
  ):
    (tmp_path / "mirflickr" / f"im{number}.jpg").write_bytes(encoded)
  splits = _load("mirflickr25k", tmp_path, options)
  assert splits.notes["unreadable"] == 0
  pixels = splits.train.images[np.arange(4)].astype(int)
  for number, colour in enumerate(
    [(200, 100, 0)] * 2 + [(118,) * 3, (200, 100, 0)]
  ):
    assert np.abs(pixels[number] - colour).max() <= 10


def test_nuswide(tmp_path):
  options = fake_archives.nuswide(tmp_path)
  counts = dict(num_train=2, num_query=1, num_validation=3)
  splits = _load("nuswide", tmp_path, options | counts, "hyp2")
  assert splits.class_names == tuple(f"concept{n}" for n in range(30, 51))
  assert len(splits.query) == 21 and len(splits.train) == 42 - 3
  assert splits.train_in_database
  assert all("\\" not in item for item in splits.query.ids)
  assert splits.query.ids[0].startswith("folder")
  splits = _load("nuswide", tmp_path, options | NUMBERS, "hashnet")
  assert splits.num_classes == 81
  assert len(_all_labels(splits)) == 119
  assert splits.notes["unlabelled"] == 1


LABELS = "Groundtruth/AllLabels/Labels_concept07.txt"
LIST = "ImageList/Imagelist.txt"


@pytest.mark.parametrize(
  ("path", "change", "words"),
  [
    (LABELS, lambda text: text[:-2], "concept07.txt has 119 lines.*120 images"),
    (LABELS, lambda text: b"2" + text[1:], "Line 1 of .*concept07.txt is '2'"),
    (LIST, lambda text: text + b"a\\b.jpg\r\n", "Imagelist.txt has 121 lines"),
    (
      LIST,
      lambda text: b"..\\..\\x.jpg\r\n" + text.split(b"\r\n", 1)[1],
      "not allowed",
    ),
  ],
)
def test_nuswide_with_a_bad_list(tmp_path, path, change, words):
  options = fake_archives.nuswide(tmp_path)
  full = tmp_path / path
  full.write_bytes(change(full.read_bytes()))
  with pytest.raises(errors.UserError, match=words):
    _load("nuswide", tmp_path, options, "hashnet", **NUMBERS)


def test_iaprtc12(tmp_path):
  options = fake_archives.iaprtc12(tmp_path) | NUMBERS
  splits = _load("iaprtc12", tmp_path, options)
  assert splits.class_names == tuple(f"word {n}" for n in range(30))
  labels = _all_labels(splits)
  assert len(labels) == 60 and "00/41" in labels
  assert 1 <= min(map(len, labels.values()))
  assert _load("iaprtc12", tmp_path, options, "dsrh").num_classes == 22
  (tmp_path / "saiapr_tc-12/00/labels.txt").write_text("1 1 99\n")
  with pytest.raises(errors.UserError, match="label 99"):
    _load("iaprtc12", tmp_path / "again", options)


def test_voc(tfds_folder):
  for name, sizes in (("voc2007", [37, 20, 40]), ("voc2012", [17, 20, 20])):
    splits = _load(name, tfds_folder, {"num_validation": 3}, "hyp2")
    assert splits.num_classes == 20 and splits.train_in_database
    parts = splits.train, splits.query, splits.database
    assert [len(part) for part in parts] == sizes
  splits = _load("voc2012", tfds_folder, NUMBERS, "deephash-pytorch")
  assert not splits.train_in_database
  labels = _all_labels(splits)
  assert labels["000007.jpg"] == {"cat", "bicycle"}


def test_coco(tfds_folder):
  splits = _load("coco", tfds_folder, NUMBERS)
  assert splits.class_names == tuple(f"thing {n}" for n in range(80))
  labels = _all_labels(splits)
  assert len(labels) == 58 and splits.notes["unlabelled"] == 2
  assert labels["COCO_val2014_000000000007.jpg"] == {"thing 7", "thing 14"}


def test_archives_without_the_real_checksum_are_refused(tmp_path):
  options = fake_archives.voc(tmp_path, "2007") | NUMBERS
  with pytest.raises(errors.UserError, match="checksum"):
    _load("voc2007", tmp_path, options)


@pytest.mark.parametrize(
  ("arguments", "words"),
  [
    (dict(name="digit"), "Did you mean 'digits'.*config.data.name"),
    (dict(name="coco", protocol="hashnett"), "Did you mean 'hashnet'"),
    (dict(name="coco", resize="fit"), "squash.*config.data.resize"),
    (dict(name="mirflickr25k", num_image=3), "Did you mean 'num_images'"),
  ],
)
def test_unknown_names(tmp_path, arguments, words):
  with pytest.raises(errors.UserError, match=words):
    data.load_splits(data_dir=str(tmp_path), **arguments)
  assert not list(pathlib.Path(tmp_path).iterdir())


@pytest.mark.parametrize("labels", ["39", "0", "sky;see"])
def test_unknown_label_sets(tmp_path, labels):
  options = fake_archives.mirflickr25k(tmp_path) | NUMBERS
  with pytest.raises(errors.UserError, match="config.data.labels"):
    _load("mirflickr25k", tmp_path, options, labels=labels)
