"""A finished run is damaged and read again, a few dozen cases.

benchmarks/results/damage.md has the record of many more.
"""

import shutil

import pytest

from benchmarks.faults import damage


@pytest.fixture(scope="module")
def pristine(command, tmp_path_factory):
  folder = tmp_path_factory.mktemp("kept")
  shutil.copytree(command.finished[0], folder / "run")
  shutil.copy(folder / "run" / "codes.npz", folder / "index.npz")
  return folder


@pytest.mark.parametrize(
  "name, num_cases, some_refused",
  [
    ("report", 40, True),
    ("evaluate", 15, True),
    ("runs", 15, True),
    # Checkpoint files have random names, and a damaged checkpoint is skipped:
    # six cases may go by without a refusal.
    ("encode, search, serve, export", 6, False),
  ],
)
def test_damage_is_refused_or_makes_no_difference(
  pristine, tmp_path, name, num_cases, some_refused
):
  count, failures = damage.run_cases(
    name, pristine, tmp_path / "work", num_cases
  )
  assert not failures
  assert sum(count.values()) == num_cases
  assert count["refused"] or not some_refused


def test_another_answer_is_found(pristine, tmp_path, monkeypatch):
  reader = damage.Reader(
    lambda folder: (folder / "index.npz").read_bytes().hex(), r"index\.npz", 1
  )
  monkeypatch.setitem(damage.READERS, "bytes", reader)
  _, failures = damage.run_cases("bytes", pristine, tmp_path / "work", 3)
  assert failures and "another answer" in failures[0]
