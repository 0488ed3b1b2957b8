"""List files, CSV files and folders of labels, valid and invalid."""

import os
import pathlib
import tempfile

import fake_archives
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dsh_jax import data, errors
from dsh_jax.data import listings


def _load(folder, options):
  return data.load_splits("listfile", "", str(folder / "data"), 16, **options)


def test_three_lists(tmp_path):
  options = fake_archives.listfiles(tmp_path)
  splits = _load(tmp_path, options)
  assert splits.protocol == "lists" and splits.train_in_database
  lines = pathlib.Path(options["query"]).read_text().splitlines()
  assert list(splits.query.ids) == [line.split()[0] for line in lines]
  expected = [[int(word) for word in line.split()[1:]] for line in lines]
  np.testing.assert_array_equal(splits.query.labels, expected)
  assert len(splits.train) == 27 and len(splits.validation) == 3
  assert len(splits.database) == 50
  assert splits.class_names == tuple("01234")


def test_a_list_of_validation_queries_and_class_names(tmp_path):
  options = fake_archives.listfiles(tmp_path)
  lines = pathlib.Path(options["train"]).read_text().splitlines()
  for name, part in (("train", lines[5:]), ("validation", lines[:5])):
    (tmp_path / f"{name}.txt").write_text("\r\n".join(part))
  (tmp_path / "classes.txt").write_text("a\nb\nc\nd\ne\n")
  options["validation"] = str(tmp_path / "validation.txt")
  options["classes"] = str(tmp_path / "classes.txt")
  splits = _load(tmp_path, options)
  assert len(splits.train) == 25
  assert list(splits.validation.ids) == [line.split()[0] for line in lines[:5]]
  assert splits.class_names == tuple("abcde")


def test_a_csv_is_split_automatically(tmp_path):
  splits = _load(tmp_path, fake_archives.csv(tmp_path))
  assert splits.protocol == "auto"
  assert splits.class_names == ("c0", "c1", "c2", "c3", "c4")
  sizes = [len(splits.train), len(splits.validation), len(splits.query)]
  assert sizes == [49, 5, 6] and len(splits.database) == 54


def test_a_changed_image_or_list_is_rebuilt(tmp_path):
  options = fake_archives.csv(tmp_path)
  first = _load(tmp_path, options)
  path = tmp_path / "pictures" / "000.jpg"
  path.write_bytes(fake_archives.jpeg(99, (50, 50)))
  second = _load(tmp_path, options)
  assert not np.array_equal(first.train.images[[0]], second.train.images[[0]])
  csv = pathlib.Path(options["csv"])
  csv.write_text(csv.read_text() + "\nnew.jpg,c0")
  with pytest.raises(errors.UserError, match="new.jpg"):
    _load(tmp_path, options)


def _lists(tmp_path, lines, classes=""):
  path = tmp_path / "list.txt"
  path.write_text(lines)
  if classes:
    (tmp_path / "classes.txt").write_text(classes)
    classes = str(tmp_path / "classes.txt")
  return listings.read_lists({"train": str(path)}, classes)


def test_paths_with_spaces_backslashes_and_a_byte_order_mark(tmp_path):
  found = _lists(tmp_path, "\ufeffa b.jpg 0 1\r\nc\\d.jpg 1 0\r\n\r\n")
  assert found.labels == {"a b.jpg": (1,), "c/d.jpg": (0,)}
  found = _lists(tmp_path, "picture 1 0 1\n", "x\ny\n")
  assert found.labels == {"picture 1": (1,)}


def test_the_same_line_twice_counts_once(tmp_path):
  found = _lists(tmp_path, "a 0 1\na 0 1\n")
  assert found.groups["train"] == ["a"]


@pytest.mark.parametrize(
  ("lines", "words"),
  [
    ("a 0 1\nb 1\n", "line 2 of .*list.txt is 'b 1'"),
    ("a 0 1\nb 0 2\n", "line 2 of"),
    ("a 0 1\nb 0 1 x\n", "line 2 of"),
    ("a 7\n", "line 1 of"),
    ("a\n", "without labels"),
    ("a 0 1\nb 1 1\na 1 1\n", "line 3 of .*'a' other labels"),
    ("../a 0 1\n", "not allowed"),
    ("/etc/passwd 0 1\n", "not allowed"),
    ("", "lists no image"),
    ("a.jpg 0 1\nb.jpg 0 1 1\n", "line 2 of .* has 3 labels; line 1 .* has 2"),
  ],
)
def test_bad_lists(tmp_path, lines, words):
  with pytest.raises(errors.UserError, match=words):
    _lists(tmp_path, lines)


def test_lists_of_different_widths_and_a_short_file_of_classes(tmp_path):
  options = fake_archives.listfiles(tmp_path)
  path = pathlib.Path(options["query"])
  lines = path.read_text().splitlines()
  path.write_text("\n".join(f"{line}{' 0' * 200}" for line in lines))
  with pytest.raises(errors.UserError, match="line 1 .*has 205 labels; .* 5"):
    _load(tmp_path, options)
  path.write_text("\n".join(lines))
  (tmp_path / "classes.txt").write_text("a\nb\n")
  classes = str(tmp_path / "classes.txt")
  with pytest.raises(errors.UserError, match=f"5 labels; .*={classes} has 2"):
    _load(tmp_path, options | {"classes": classes})


def test_a_name_that_is_too_long_is_an_absent_image(tmp_path):
  (tmp_path / "a.csv").write_text(f"{'x' * 300}.jpg,a\n")
  with pytest.raises(errors.UserError, match="None of the 1 listed"):
    _load(
      tmp_path, {"csv": str(tmp_path / "a.csv"), "manual_dir": str(tmp_path)}
    )


def test_a_folder_for_each_label(tmp_path):
  for n in range(40):
    path = tmp_path / "pictures" / ("sea" if n % 4 else "sky") / f"{n}.jpg"
    fake_archives.write(path.parent, {path.name: fake_archives.jpeg(n)})
  (tmp_path / "pictures" / "loose.jpg").write_bytes(fake_archives.jpeg(99))
  splits = _load(tmp_path, {"manual_dir": str(tmp_path / "pictures")})
  assert splits.protocol == "auto" and splits.class_names == ("sea", "sky")
  assert splits.notes["unlabelled"] == 1
  for split in (splits.query, splits.database):
    for name, row in zip(split.ids, split.labels, strict=True):
      assert splits.class_names[row.argmax()] == name.split("/")[0]
  assert len(splits.query) == 4 and len(splits.database) == 36
  with pytest.raises(errors.UserError, match="no folders of pictures"):
    _load(tmp_path, {"manual_dir": str(tmp_path / "pictures" / "sea")})


def test_names_that_are_not_utf8_are_one_error(tmp_path):
  root = tmp_path / "pictures"
  folder = root / os.fsdecode(b"owl\xff")
  fake_archives.write(folder, {"a.jpg": fake_archives.jpeg(1)})
  words = r"data.manual_dir=.*owl\\udcff.* is not UTF-8. Rename it"
  for manual_dir in (root, folder):
    with pytest.raises(errors.UserError, match=words):
      _load(tmp_path, {"manual_dir": str(manual_dir)})


def _csv(tmp_path, text, classes=""):
  (tmp_path / "a.csv").write_text(text)
  if classes:
    (tmp_path / "classes.txt").write_text(classes)
    classes = str(tmp_path / "classes.txt")
  return listings.read_csv(str(tmp_path / "a.csv"), classes)


def test_csv_with_quotes_and_unlabelled_rows(tmp_path):
  found = _csv(tmp_path, '"a, b.jpg",sea; sky\r\nc.jpg,\r\n')
  assert found.class_names == ("sea", "sky")
  assert found.labels == {"a, b.jpg": (0, 1), "c.jpg": ()}


@pytest.mark.parametrize(
  "header", ["path,labels", "filename,tags", "Picture,what is seen"]
)
def test_a_header_is_neither_a_picture_nor_a_label(tmp_path, header):
  found = _csv(tmp_path, f"{header}\na.jpg,1\nb.jpg,see\n")
  assert found.class_names == ("1", "see")
  assert found.labels == {"a.jpg": (0,), "b.jpg": (1,)}


def test_csv_with_a_column_for_each_label(tmp_path):
  text = "filename,sky,sea\na.jpg,0,1\nb.jpg,1,1\nc.jpg,0,0\n"
  found = _csv(tmp_path, text)
  assert found.class_names == ("sky", "sea") and found.together == {}
  assert found.labels == {"a.jpg": (1,), "b.jpg": (0, 1), "c.jpg": ()}
  found = _csv(tmp_path, text, "sea\nsky\n")
  assert found.labels["a.jpg"] == (0,)


def test_a_csv_in_utf_16_is_named_so(tmp_path):
  (tmp_path / "a.csv").write_text("a.jpg,x\n", "utf-16")
  with pytest.raises(
    errors.UserError, match=r"a\.csv is .* UTF-16. Save it as"
  ):
    listings.read_csv(str(tmp_path / "a.csv"))


def test_absolute_paths_inside_the_folder_are_relative_ones(tmp_path):
  options = fake_archives.csv(tmp_path)
  want = _load(tmp_path, options)
  path = pathlib.Path(options["csv"])
  path.write_text(
    path.read_text().replace("pictures/", f"{tmp_path}/pictures/")
  )
  found = _load(tmp_path, options)
  assert found.sha256 == want.sha256 and "/" != found.query.ids[0][0]
  options["manual_dir"] = str(tmp_path / "elsewhere")
  with pytest.raises(
    errors.UserError, match="not allowed; paths must be relat"
  ):
    _load(tmp_path, options)
  # One picture makes no queries.
  path.write_text(f"{tmp_path}/pictures/000.jpg,x\n")
  with pytest.raises(errors.UserError, match="query split, of 1. Add images"):
    _load(tmp_path, options | {"manual_dir": str(tmp_path)})


def test_names_with_spaces_are_labels(tmp_path):
  found = _csv(tmp_path, "a.jpg,palm tree\nb.jpg,sea shore\nc.jpg,sea\n")
  assert found.class_names == ("palm tree", "sea", "sea shore")
  text = "a.jpg,x y\nb.jpg,x\nc.jpg,y\n"
  assert _csv(tmp_path, text, "x\ny\nx y\n").labels["a.jpg"] == (2,)


@pytest.mark.parametrize(
  ("text", "classes", "words"),
  [
    ('a.jpg,"sea\nb.jpg,sky"\n', "", "line 1 of .*a.csv has a quote"),
    ("a.jpg\n", "", "line 1 of .*a.csv has 1 column;"),
    ("a.jpg\tx\n", "", "has 1 column;.* separated by tabs: use commas"),
    ("a.jpg;x\n", "", "separated by semicolons: use commas"),
    ("a.jpg,x,y,z\n", "", "has 4 columns"),
    ("a.jpg,x,y\nb.jpg,x\n", "", "line 2 of .*a.csv has 2 columns"),
    ("a.jpg,x\na.jpg,y\n", "", "line 2 .*other labels"),
    ("a.jpg,see\n", "sea\nsky\n", "Did you mean 'sea'.*config.data.classes"),
    ("a.jpg,x\n", "x\nx\n", "different class name"),
    ('"a.jpg,x\n', "", "not CSV"),
    ("a.jpg,x|y\nb.jpg,x\nc.jpg,y\n", "", r"joined by '\|', such as 'x\|y'"),
    ("a.jpg,x y\nb.jpg,x\nc.jpg,y\n", "", "joined by ' ', such as 'x y'"),
    ("path,labels\n", "", "lists no image"),
    ("..,x\n", "", "not allowed"),
    ("path,x,y,z\na.jpg,1,0,yes\n", "", "line 2 .* 'yes' under 'z'"),
    ("path,x,y,z\na.jpg,1,0\n", "", "line 2 of .* has 3 columns"),
    ("path,x,y,x\na.jpg,1,0,1\n", "", "header of .*a.csv must have a diff"),
  ],
)
def test_bad_csv(tmp_path, text, classes, words):
  with pytest.raises(errors.UserError, match=words):
    _csv(tmp_path, text, classes)


@pytest.mark.parametrize(
  "given_options", [{}, {"train": "a"}, {"csv": "a", "train": "b"}]
)
def test_which_files_are_needed(tmp_path, given_options):
  with pytest.raises(errors.UserError, match="config.data.train"):
    _load(tmp_path, given_options)


def test_a_missing_list(tmp_path):
  with pytest.raises(errors.UserError, match="Cannot read the list"):
    _load(tmp_path, {"csv": str(tmp_path / "none.csv")})


_TEXT = st.one_of(
  st.binary(max_size=200),
  st.lists(
    st.text(alphabet='ab01/\\." ,;\r\n\t\0é', max_size=20), max_size=8
  ).map(lambda lines: "\n".join(lines).encode()),
)


@settings(max_examples=200, deadline=None)
@given(_TEXT)
def test_any_bytes_are_a_listing_or_a_clear_error(content):
  with tempfile.TemporaryDirectory() as folder:
    path = pathlib.Path(folder) / "list"
    path.write_bytes(content)
    for read in (
      lambda: listings.read_lists({"train": str(path)}),
      lambda: listings.read_csv(str(path)),
    ):
      try:
        found = read()
      except errors.UserError as error:
        assert "\n" not in str(error)
        continue
      assert found.labels
      for labels in found.labels.values():
        assert all(0 <= n < len(found.class_names) for n in labels)


@settings(max_examples=100, deadline=None)
@given(
  st.dictionaries(
    st.from_regex(r"[a-z]{1,5}/[a-z0-9 é]{0,8}[a-z]\.jpg", fullmatch=True),
    st.lists(st.booleans(), min_size=3, max_size=3),
    min_size=1,
    max_size=10,
  ),
  st.sampled_from(["\n", "\r\n"]),
)
def test_lists_are_read_as_written(images, end):
  """Names and line ends never change a label."""
  expected = {
    name: tuple(int(n) for n in np.flatnonzero(row))
    for name, row in images.items()
  }
  with tempfile.TemporaryDirectory() as folder:
    path = pathlib.Path(folder) / "list"
    lines = [
      f"{name} {' '.join(str(int(v)) for v in row)}"
      for name, row in images.items()
    ]
    path.write_bytes(end.join(lines).encode())
    assert listings.read_lists({"train": str(path)}).labels == expected
    (pathlib.Path(folder) / "classes").write_text("x\ny\nz\n")
    rows = [
      f"{name},{';'.join('xyz'[n] for n in labels)}"
      for name, labels in expected.items()
    ]
    path.write_bytes(end.join(rows).encode())
    found = listings.read_csv(str(path), f"{folder}/classes")
    assert found.labels == expected


def test_a_group_stays_on_one_side(tmp_path):
  options = fake_archives.csv(tmp_path)
  path = pathlib.Path(options["csv"])
  lines = path.read_text().splitlines()
  first = int(lines[0].startswith("path"))
  path.write_text(
    "\n".join(f"{line},group {n // 4}" for n, line in enumerate(lines[first:]))
  )
  splits = _load(tmp_path, options)
  group = {line.split(",")[0]: n // 4 for n, line in enumerate(lines[first:])}

  def groups(split):
    return {group[name] for name in split.ids}

  assert not groups(splits.query) & groups(splits.database)
  assert not groups(splits.validation) & groups(splits.train)
  assert len(splits.query) in range(5, 9) and len(splits.validation) > 0
