"""Config files are found in the repository and in an installed package."""

import configparser
import importlib
import importlib.util
import os
import pathlib
import shutil
import subprocess
import sys
import zipfile

import commands
import pytest

from dsh_jax import errors
from dsh_jax.config import config_files


def test_choices_from_the_command_line(command):
  code, out, err = command.run("--config=configs/digits.py:method=?")
  assert (code, err) == (0, "")
  for word in ("idhn ", "dsrh ", "1 to 256", "resnet50", "protocol=digits"):
    assert word in out


def test_choices_in_both_spellings(monkeypatch):
  monkeypatch.chdir(commands.ROOT)
  config_files.make_importable()
  # A preset of the user's may lack a source.
  monkeypatch.setitem(
    config_files.presets(), "mine", {"loss": {"name": "idhn"}}
  )
  query = "configs/digits.py:bits=?"
  found = config_files.answer(["x", "--config", query])
  assert "resnet18" in found and "\n  mine\n" in found
  assert "resnet18" in config_files.answer(["x", f"--config={query}"])
  assert config_files.answer(["x", "--config=configs/digits.py:bits=4"]) is None
  assert config_files.answer(["x", "--config"]) is None
  config_files.check(["x", f"--config={query}", "--workdir=nothing.py"])
  with pytest.raises(errors.UserError, match="mean 'configs/digits.py'"):
    config_files.check(["x", "--config=configs/digit.py:method=?"])


def test_a_local_file_takes_precedence(monkeypatch, tmp_path):
  argv = ["x", "--config=configs/digits.py:bits=4", "--workdir", "w"]
  monkeypatch.chdir(tmp_path)
  path = config_files.folder() / "digits.py"
  assert config_files.find(argv) == ["x", f"--config={path}:bits=4", *argv[2:]]
  (tmp_path / "configs").mkdir()
  (tmp_path / "configs" / "digits.py").touch()
  assert config_files.find(argv) == argv
  other = ["x", "--config", "configs/nothing.py"]
  assert config_files.find(other) == other


def test_the_help_is_short(command):
  code, out, err = command.run("--help")
  assert code in (0, 1) and err == ""
  assert len(out.splitlines()) < 40 and "method=?" in out


@pytest.mark.skipif(
  importlib.util.find_spec("setuptools") is None
  or importlib.util.find_spec("wheel") is None,
  reason="setuptools and wheel are not installed",
)
def test_an_installed_package_has_its_configs(command, tmp_path):
  """Run a wheel in a folder with another `configs`."""
  source, site, here = (tmp_path / name for name in ("source", "site", "here"))
  source.mkdir()
  for name in ("setup.py", "README.md"):
    shutil.copy(commands.ROOT / name, source)
  for name in ("dsh_jax", "configs"):
    shutil.copytree(
      commands.ROOT / name,
      source / name,
      ignore=shutil.ignore_patterns("__pycache__"),
    )
  subprocess.run(
    [sys.executable, "setup.py", "-q", "bdist_wheel"],
    cwd=source,
    check=True,
    capture_output=True,
    env=os.environ | {"PYTHONWARNINGS": "ignore"},
  )
  (wheel,) = (source / "dist").glob("*.whl")
  with zipfile.ZipFile(wheel) as file:
    file.extractall(site)
    names = file.namelist()
  assert {pathlib.Path(name).parts[0] for name in names} <= {
    "dsh_jax",
    next(name.split("/")[0] for name in names if ".dist-info/" in name),
  }
  for name in (
    "report/page.html",
    "apps/search.html",
    "configs/tables/digits.py",
  ):
    assert f"dsh_jax/{name}" in names
  commands_of_wheel = configparser.ConfigParser()
  commands_of_wheel.read(next(site.glob("*.dist-info/entry_points.txt")))
  for value in commands_of_wheel["console_scripts"].values():
    module, _, function = value.partition(":")
    assert callable(getattr(importlib.import_module(module), function)), value
  (here / "configs").mkdir(parents=True)
  (here / "configs" / "default.py").write_text("raise SystemError")
  (here / "configs" / "__init__.py").touch()
  done = subprocess.run(
    [sys.executable, "-m", "dsh_jax.main", "--config=configs/voc.py:bits=?"],
    cwd=here,
    env=command.environment | {"PYTHONPATH": str(site)},
    capture_output=True,
    text=True,
    timeout=100,
  )
  assert done.returncode == 0, done.stderr
  assert "protocol=" in done.stdout and str(site) in done.stdout
