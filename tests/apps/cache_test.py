"""The cache is listed, and what is named is removed."""

import fcntl
import os

import fake_archives
import pytest

from dsh_jax import data, errors
from dsh_jax.apps import cache


def test_old_arrays_of_own_pictures_are_listed_and_removed(tmp_path, capsys):
  options, folder = fake_archives.csv(tmp_path), tmp_path / "data"

  def load():
    return data.load_splits("listfile", "", str(folder), 16, **options)

  load()
  (old,) = (folder / "arrays").glob("*/")
  for path in old.iterdir():
    os.utime(path, (1, 1))
  (tmp_path / "pictures" / "000.jpg").write_bytes(fake_archives.jpeg(99))
  load()
  (folder / "compiled").mkdir()
  (folder / "compiled" / "program").write_bytes(bytes(2**20))
  cache.main([f"--dir={folder}"])
  *lines, total = capsys.readouterr().out.splitlines()
  names = [line.split()[-1] for line in lines]
  assert len(names) == 5 and "1.0 MiB  used 20" in "".join(lines)
  assert names[-1] == f"arrays/{old.name}" and "used 1970-01-01" in lines[-1]
  assert total.endswith(f"MiB  in {folder}")
  assert sum(name.startswith("listfile/") for name in names) == 2

  cache.main([f"--dir={folder}", f"--remove={names[-1]}"])
  assert capsys.readouterr().out == f"Removed {names[-1]}\n"
  assert not old.exists() and len(cache.list_entries(folder)) == 4
  with pytest.raises(errors.UserError, match="Unknown entry 'arrays/x"):
    cache.remove(folder, ["compiled", "arrays/x*"])
  (lock,) = list((folder / "arrays").glob("*.lock"))[:1]
  with open(lock, "w") as file:
    fcntl.flock(file, fcntl.LOCK_EX)
    with pytest.raises(
      errors.UserError, match="Another process is preparing data"
    ):
      cache.remove(folder, ["compiled"])
  cache.remove(folder, ["arrays/*", "listfile/*", "compiled"])
  assert cache.list_entries(folder) == []
  with pytest.raises(errors.UserError, match="Allowed: none. Change --remove"):
    cache.remove(folder, ["x"])
  assert len(load().query) == 6
