"""Feeds text and bytes of all kinds to the readers of user files.

python -m benchmarks.faults.fuzz --cases=100000 --results=benchmarks/results

Half of the cases are arbitrary, half are valid files with some bytes changed,
left out or added. A reader returns what it has read, or raises a UserError of
one line (an UnreadableError for a picture); anything else is a failure. What
is read from a list file or codes is compared with the plainest reading of it.
"""

import collections
import dataclasses
import io
import pathlib
import tempfile
import time
import zipfile
from collections.abc import Callable, Sequence
from typing import Any

import hypothesis
import numpy as np
from absl import flags
from hypothesis import strategies as st
from PIL import Image

from benchmarks import hardware
from dsh_jax import errors
from dsh_jax.apps import command, evaluate, index
from dsh_jax.config import fields
from dsh_jax.data import archives, images, listings
from dsh_jax.models import weight_files
from dsh_jax.runs import workdir

_CASES = flags.DEFINE_integer("cases", 100_000, "Number of cases.")
_RESULTS = flags.DEFINE_string("results", "", "Folder to write fuzz.md to.")

# The most common form of a list.
_LIST = b"a/1.jpg 0 1 0\nb c/2.png 1 0 0\r\n\xc3\xa9.jpg 0 0 1\n"
_CSV = b'path,labels\na.jpg,cat;dog\n"b, c.jpg",dog\n\xc3\xa9.jpg,\n'
_TOKENS = ("0", "1", " ", "\n", "\r", "\t", ",", ";", '"', "a.jpg", "..", "/")
_TOKENS += ("path", "\\", "\ufeff", "\0", "2", "-1", "\x85", "\u2028", "C:")


@dataclasses.dataclass(frozen=True)
class Target:
  """A reader and its inputs.

  Attributes:
    cases: Strategy of its input.
    read: Reads an input and raises AssertionError if it was read wrongly;
      returns nothing.
    weight: Share of the cases, relative to the others.
  """

  cases: st.SearchStrategy[Any]
  read: Callable[[Any], None]
  weight: int = 10


def _broken(*valid: bytes) -> st.SearchStrategy[bytes]:
  """Valid files with up to four pieces changed, and arbitrary bytes."""
  edit = st.tuples(
    st.integers(0, 2**16), st.integers(0, 6), st.binary(max_size=6)
  )

  def apply(content, edits):
    for place, length, new in edits:
      place %= len(content) + 1
      content = content[:place] + new + content[place + length :]
    return content

  edited = st.builds(
    apply, st.sampled_from(valid), st.lists(edit, min_size=1, max_size=4)
  )
  cut = st.builds(
    lambda content, place: content[: place % (len(content) + 1)],
    st.sampled_from(valid),
    st.integers(0, 2**16),
  )
  return st.one_of(edited, cut, st.binary(max_size=200))


def _texts(*valid: bytes) -> st.SearchStrategy[bytes]:
  tokens = st.lists(st.sampled_from(_TOKENS), max_size=40)
  return st.one_of(
    tokens.map(lambda words: "".join(words).encode()), _broken(*valid)
  )


def make_targets(folder: pathlib.Path) -> dict[str, Target]:
  """Return the readers, by name.

  Args:
    folder: Folder for the inputs of readers of files.
  """
  path = folder / "input"

  def write(content):
    path.write_bytes(content)
    return str(path)

  def read_config(arg):
    from configs import digits

    config = digits.get_config(arg)
    fields.validate(config, 1)

  def read_list(content):
    found = listings.read_lists({"train": write(content)})
    num_labels = len(found.class_names)
    expected = {}
    for line in content.decode("utf-8-sig").replace("\r", "\n").split("\n"):
      if words := line.split():
        flags_ = words[-num_labels:]
        name = line.strip()
        for _ in flags_:
          name = name[: max(name.rfind(x) for x in ("0", "1"))].rstrip()
        expected[archives.clean_path(name)] = tuple(
          number for number, flag in enumerate(flags_) if flag == "1"
        )
    assert found.labels == expected, (found.labels, expected)

  def read_csv(content):
    found = listings.read_csv(write(content))
    for name, labels in found.labels.items():
      line = {found.class_names[number] for number in labels}
      assert name and ".." not in name.split("/")
      text = content.decode("utf-8-sig")
      assert all(label in text for label in line)

  def read_classes(content):
    lists = folder / "list"
    lists.write_bytes(b"a 1\nb 0\n")
    found = listings.read_lists({"train": str(lists)}, write(content))
    assert len(found.class_names) == 1

  def read_codes(content):
    report = evaluate.evaluate_files(write(content), names=["map@all"])
    assert 0 <= report["metrics"]["map@all"]["expected"] <= 1

  def read_npy(content):
    labels = folder / "labels.npy"
    labels.write_bytes(npy)
    codes = write(content)
    evaluate.evaluate_files(
      codes, codes, str(labels), str(labels), names=["acg@2"]
    )

  def read_index(content):
    found = index.load(write(content))
    assert len(found.ids) == len(found.codes) > 0

  def read_picture(content):
    pixels = images.decode(content, 8)
    assert pixels.shape == (8, 8, 3) and pixels.dtype == np.uint8

  def read_zip(content):
    archive = archives.Zip(pathlib.Path(write(content)))
    for name in archive.list(""):
      archive.read(name)

  def read_run(content):
    (folder / "config.json").write_bytes(content)
    workdir.Workdir(str(folder)).read_json("config.json")

  npy, npz, packed = _codes_files()
  return {
    "config strings": Target(
      st.one_of(
        st.text(max_size=30),
        st.lists(
          st.sampled_from(("method=", "bits=", "seed=", "idhn", "3", ",", "="))
        ).map("".join),
      ),
      read_config,
    ),
    "list files": Target(_texts(_LIST), read_list, 30),
    "CSV files": Target(_texts(_CSV), read_csv, 30),
    "label files": Target(_texts(b"cat\n", b"cat\ndog\n"), read_classes),
    "codes files (.npz)": Target(_broken(npz, packed), read_codes, 20),
    "codes files (.npy)": Target(_broken(npy), read_npy, 20),
    "indices": Target(_broken(npz, packed), read_index, 20),
    "pictures": Target(_broken(*_pictures()), read_picture, 20),
    "zip archives": Target(_broken(_zip()), read_zip),
    "weight files": Target(
      _broken(*_weights()), lambda content: _read_weights(content, path)
    ),
    "config.json": Target(_broken(b'{"bits": 16, "a": [1]}'), read_run),
  }


def _read_weights(content, path):
  """Read it as every kind of file, and fail if it is none of them."""
  problem = None
  for ending in weight_files.ENDINGS:
    file = path.with_suffix(ending)
    file.write_bytes(content)
    try:
      for array in weight_files.read(str(file)).values():
        assert isinstance(array, np.ndarray) and array.dtype != object
      return
    except errors.UserError as error:
      problem = error
  raise problem


def _codes_files():
  npy, npz, packed = io.BytesIO(), io.BytesIO(), io.BytesIO()
  np.save(npy, np.eye(3, dtype=np.int8))
  arrays = {"num_bits": np.asarray(4)}
  for kind in ("query", "database"):
    arrays[f"{kind}_codes"] = np.array([[1], [2]], np.uint32)
    arrays[f"{kind}_labels"] = np.eye(2, dtype=np.uint8)
    arrays[f"{kind}_ids"] = np.array(["a", "b"])
  np.savez(npz, **arrays)
  np.savez_compressed(packed, **arrays)
  return npy.getvalue(), npz.getvalue(), packed.getvalue()


def _pictures():
  found = []
  for kind in ("PNG", "JPEG", "GIF", "BMP", "WEBP"):
    buffer = io.BytesIO()
    Image.new("RGB", (12, 9), "teal").save(buffer, kind)
    found.append(buffer.getvalue())
  return found


def _zip():
  buffer = io.BytesIO()
  with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
    archive.writestr("a/b.txt", b"abc" * 10)
    archive.writestr("c.txt", b"")
  return buffer.getvalue()


def _weights():
  tests = pathlib.Path(__file__).parents[2] / "tests"
  found = [path.read_bytes() for path in sorted(tests.glob("tensors*.pth"))]
  header = b'{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}'
  size = len(header).to_bytes(8, "little")
  return [*found, size + header + bytes(8)]


def run(target: Target, num_cases: int) -> tuple[int, int, list[str]]:
  """Feed a reader; return the cases read, the cases refused, and failures."""
  count = collections.Counter()
  failures = []

  @hypothesis.settings(
    max_examples=num_cases,
    database=None,
    deadline=None,
    derandomize=True,
    phases=[hypothesis.Phase.generate],
    suppress_health_check=list(hypothesis.HealthCheck),
  )
  @hypothesis.given(target.cases)
  def one_case(case):
    try:
      target.read(case)
    except (errors.UserError, images.UnreadableError) as error:
      text = str(error)
      if isinstance(error, errors.UserError) and (
        len(text) < 15 or "\n" in text or "Traceback" in text
      ):
        failures.append(f"{case!r}: unclear: {text!r}")
      count["refused"] += 1
    except Exception as error:  # The errors that this program looks for.
      failures.append(f"{case!r}: {type(error).__name__}: {error}")
    else:
      count["read"] += 1

  one_case()
  return count["read"], count["refused"], failures


def _run(argv: Sequence[str]) -> int:
  command.parse(argv, description=__doc__)
  started = time.monotonic()
  lines = [
    "| Reader | cases | read | refused | failures |",
    "| --- " + "| ---: " * 4 + "|",
  ]
  total, num_failures = 0, 0
  with tempfile.TemporaryDirectory() as folder:
    targets = make_targets(pathlib.Path(folder))
    weights = sum(target.weight for target in targets.values())
    for name, target in targets.items():
      num_cases = -(-_CASES.value * target.weight // weights)
      read, refused, failures = run(target, num_cases)
      found = read + refused + len(failures)
      lines.append(
        f"| {name} | {found:,} | {read:,} | {refused:,} | {len(failures)} |"
      )
      print(lines[-1], *failures[:5], sep="\n", flush=True)
      total += found
      num_failures += len(failures)
  secs = time.monotonic() - started
  text = "\n".join(
    [
      "# The readers, fed with text and bytes of all kinds",
      "",
      f"`python -m benchmarks.faults.fuzz --cases={_CASES.value}` on"
      f" {hardware.describe()}, commit {hardware.commit()}, hypothesis"
      f" {hypothesis.__version__}, {secs:.0f} s: {total:,} cases,"
      f" {num_failures} failures.",
      "",
      "Read means that the file was valid and read right, refused that a"
      " message of one line said what is wrong with it.",
      "",
      *lines,
    ]
  )
  if _RESULTS.value:
    pathlib.Path(_RESULTS.value, "fuzz.md").write_text(text + "\n")
  return int(num_failures > 0)


if __name__ == "__main__":
  command.run(_run)
