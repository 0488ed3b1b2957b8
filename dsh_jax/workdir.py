"""The files of a run: who may write them, and how they are written."""

import io
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from etils import epath

from dsh_jax import configuration, errors

# Fields that do not change what a run computes.
_WITHOUT_EFFECT = {
  "data.dir",
  "data.manual_dir",
  "tensorboard",
  "train.prefetch",
}


class Workdir:
  """A folder that belongs to one configuration."""

  def __init__(self, path: str):
    """Names the folder; nothing is written yet."""
    if not path:
      raise errors.UserError(
        "No folder for the run was given. Give one with --workdir=DIR."
      )
    self.path = epath.Path(path)

  def check(self, config: Mapping[str, Any]) -> None:
    """Checks that the folder is free or holds the same configuration.

    Raises:
      UserError: It holds another one; the fields that differ are named.
    """
    held = self.read_json("config.json")
    if held is None:
      return
    wanted = configuration.flatten(config)
    names = sorted(
      name
      for name in (held.keys() | wanted.keys()) - _WITHOUT_EFFECT
      if held.get(name) != wanted.get(name)
    )
    if names:
      different = "; ".join(
        f"config.{name} was {held.get(name)} and is now {wanted.get(name)}"
        for name in names
      )
      raise errors.UserError(
        f"--workdir={self.path} holds a run of another configuration:"
        f" {different}. Give the same configuration, or another --workdir."
      )

  def claim(self, config: Mapping[str, Any]) -> None:
    """Creates the folder with its config.json, after `check`.

    Raises:
      UserError: The folder cannot be written.
    """
    self.check(config)
    try:
      self.path.mkdir(parents=True, exist_ok=True)
      self.write_json("config.json", configuration.flatten(config))
    except OSError as error:
      raise errors.UserError(
        f"Cannot write to --workdir={self.path}: {error.strerror}. Give a"
        " folder that you may write to."
      ) from None

  def read_json(self, name: str) -> dict[str, Any] | None:
    """Returns the contents of a JSON file, or None if it is not there."""
    try:
      return json.loads((self.path / name).read_text())
    except FileNotFoundError:
      return None
    except NotADirectoryError:
      raise errors.UserError(
        f"--workdir={self.path} is not a folder. Give a folder."
      ) from None
    except ValueError:
      raise errors.UserError(
        f"{self.path / name} is not JSON. Restore it from a copy, or give"
        " another --workdir."
      ) from None

  def write_json(self, name: str, content: Mapping[str, Any]) -> None:
    """Writes a JSON file, whole or not at all."""
    self._write(name, (json.dumps(content, indent=2) + "\n").encode())

  def write_arrays(self, name: str, arrays: Mapping[str, np.ndarray]) -> None:
    """Writes an .npz file, whole or not at all."""
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    self._write(name, buffer.getvalue())

  def _write(self, name, content):
    temporary = self.path / f"{name}.partial"
    temporary.write_bytes(content)
    temporary.replace(self.path / name)
