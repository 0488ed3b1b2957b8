"""Parts of a computation: whose they are, and whether they are whole."""

import os

import numpy as np
import pytest

from dsh_jax import errors
from dsh_jax.runs import parts

COUNT = 600  # Three parts.


class Work:
  """Squares rows, and counts the parts that it was asked for."""

  def __init__(self, folder):
    self.folder, self.calls, self.dies_at = folder / "x.npz.parts", 0, 0

  def __call__(self, rows):
    self.calls += 1
    if self.calls == self.dies_at:
      raise KeyboardInterrupt
    return {"squares": rows**2, "names": rows.astype(str)}

  def run(self, fingerprint="of this"):
    with parts.computed(
      self.folder, COUNT, self, "Squares", fingerprint
    ) as found:
      pass
    return found


@pytest.fixture
def work(tmp_path):
  return Work(tmp_path)


def test_a_killed_computation_resumes(work):
  work.dies_at = 3
  with pytest.raises(KeyboardInterrupt):
    work.run()
  found = work.run()
  assert work.calls == 4
  np.testing.assert_array_equal(found["squares"], np.arange(COUNT) ** 2)
  assert found["names"][-1] == "599"
  assert not work.folder.exists()


def test_damaged_and_foreign_parts_are_computed_again(work):
  work.dies_at = 3
  with pytest.raises(KeyboardInterrupt):
    work.run()
  path = work.folder / "000000256.npz"
  content = path.read_bytes()
  for number, damaged in enumerate((content[:-9], b""), 1):
    path.write_bytes(damaged)
    work.calls, work.dies_at = 0, 2
    with pytest.raises(KeyboardInterrupt):
      work.run()
    assert work.calls == 2 and len(list(work.folder.glob("*.npz"))) == 2, number
  work.calls = work.dies_at = 0
  work.run("of that")
  assert work.calls == 3


def test_an_error_of_the_disk_keeps_the_parts(work):
  for error, kept in ((OSError, True), (errors.UserError, False)):
    with pytest.raises(error):
      with parts.computed(work.folder, COUNT, work, "Squares", "of this"):
        raise error
    assert work.folder.exists() == kept


def test_two_commands_do_not_meet(work):
  with parts.computed(work.folder, COUNT, work, "Squares", "of this"):
    with pytest.raises(errors.UserError, match="Another process writes"):
      work.run()
  work.run()


@pytest.mark.parametrize(
  "name", ["thesis.txt", "000000000.npz", ".hidden", "lock"]
)
def test_a_folder_of_the_user_is_left_alone(work, name):
  work.folder.mkdir()
  (work.folder / name).write_text("of the user")
  with pytest.raises(errors.UserError, match="Move it, or change --out"):
    work.run()
  assert [path.name for path in work.folder.iterdir()] == [name]


@pytest.mark.parametrize("kind", ["pipe", "link"])
def test_a_lock_that_is_no_file_of_its_own_is_left_alone(work, kind):
  work.dies_at = 2
  with pytest.raises(KeyboardInterrupt):
    work.run()
  lock, other = work.folder / "lock", work.folder.parent / "other"
  lock.unlink()
  other.write_text("of the user")
  os.mkfifo(lock) if kind == "pipe" else lock.symlink_to(other)
  with pytest.raises(errors.UserError, match="Move it, or change --out"):
    work.run()
  assert other.read_text() == "of the user"
