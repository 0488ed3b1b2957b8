"""Every reader meets text and bytes of all kinds, a few hundred cases each.

benchmarks/results/fuzz.md has the record of many more.
"""

import pathlib
import tempfile

import pytest

from benchmarks.faults import fuzz

_NAMES = sorted(fuzz.make_targets(pathlib.Path(tempfile.gettempdir())))


@pytest.mark.parametrize("name", _NAMES)
def test_a_reader_reads_or_says_what_is_wrong(name, tmp_path):
  target = fuzz.make_targets(tmp_path)[name]
  read, refused, failures = fuzz.run(target, 200)
  assert not failures
  assert refused and read


def test_what_is_found_is_told(tmp_path):
  target = fuzz.make_targets(tmp_path)["label files"]

  def fail(content):
    raise KeyError(len(content))

  read, refused, failures = fuzz.run(fuzz.Target(target.cases, fail), 5)
  assert (read, refused) == (0, 0) and "KeyError" in failures[0]
