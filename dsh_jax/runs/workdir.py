"""The folder of a run and the files in it."""

import contextlib
import io
import logging
import secrets
import time
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from etils import epath

from dsh_jax import errors, files
from dsh_jax.config import fields
from dsh_jax.runs import changes, folder_lock
from dsh_jax.runs import hosts as hosts_lib

_SHARED_SECS = 10  # Seconds for a file to appear on all hosts.


class Workdir:
  """A folder that belongs to one configuration.

  Attributes:
    path: The folder.
  """

  def __init__(self, path: str, writes: bool = True):
    """Name the folder; write nothing yet.

    Args:
      path: A path, or an address such as gs://BUCKET/runs/a.
      writes: Whether this host writes; one host does.

    Raises:
      UserError: The path is empty or not UTF-8.
    """
    if not path:
      raise errors.UserError(
        "No folder for the run was given. Give one with --workdir=DIR."
      )
    errors.check_utf8(path, "--workdir")
    self.path = epath.Path(path)
    self._writes = writes
    self._lock = None

  def make_folder(self) -> None:
    """Create the folder if it is missing.

    Raises:
      UserError: It cannot be created.
    """
    try:
      self.path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
      raise errors.UserError(
        f"Cannot write to --workdir={self.path}: {errors.describe(error)}. Give"
        " a folder that you may write to."
      ) from None

  def check(self, config: Mapping[str, Any]) -> None:
    """Check that the folder is new or holds the same configuration.

    Fields without an effect on the result, such as data.dir, may differ.

    Args:
      config: As in configs/default.py.

    Raises:
      UserError: Fields differ, config.json cannot be read, or `checkpoints` is
        not a folder.
    """
    checkpoints = self.path / "checkpoints"
    if checkpoints.exists() and not checkpoints.is_dir():
      raise errors.UserError(
        f"{checkpoints} is not a folder. Move it away, or give another"
        " --workdir."
      )
    previous = self.read_json("config.json")
    if previous is None:
      return
    if different := changes.describe(previous, fields.flatten(config)):
      longer = (
        " The learning rate spans all epochs, so a run cannot be given more."
        if "config.train.num_epochs was" in different
        else ""
      )
      raise errors.UserError(
        f"--workdir={self.path} holds a run of another configuration:"
        f" {different}. Give the same configuration, or another"
        f" --workdir.{longer}"
      )

  @contextlib.contextmanager
  def claimed(self, config: Mapping[str, Any]) -> Iterator[None]:
    """Lock the folder, after creating it and its config.json if need be.

    Removes files that a killed run left unfinished. A folder in a bucket is
    not locked.

    Args:
      config: As in configs/default.py.

    Raises:
      UserError: The folder cannot be written, holds another configuration, or
        another process has locked it.
    """
    if not self._writes:
      yield
      return
    try:
      self.path.mkdir(parents=True, exist_ok=True)
      if "://" not in str(self.path):
        self._lock = folder_lock.FolderLock(self.path)
      self.check(config)
      for path in self.path.glob("*.partial"):
        path.unlink(missing_ok=True)
      self.write_json("config.json", fields.flatten(config))
    except (OSError, errors.StorageError) as error:
      self._remove_if_unused()
      self._release()
      raise errors.UserError(
        f"Cannot write to --workdir={self.path}:"
        f" {errors.describe(error.__cause__ or error)}. Give a folder that"
        " you may write to, with space."
      ) from None
    except errors.UserError:
      self._release()
      raise
    try:
      yield
    finally:
      self._release()

  def _release(self):
    if self._lock is not None:
      self._lock.release()
      self._lock = None

  def _remove_if_unused(self):
    """Remove a folder that holds nothing but our lock."""
    with contextlib.suppress(OSError):
      if self._lock is not None and not (self.path / "config.json").exists():
        (self.path / "lock").unlink()
        self.path.rmdir()

  def assert_ours(self) -> None:
    """Check that the claimed folder is still in its place.

    Raises:
      StorageError: It was removed or replaced.
    """
    if self._lock is not None and not self._lock.is_in_place():
      raise errors.StorageError(
        f"--workdir={self.path} was removed or replaced during the run. Put"
        " it back to continue with the same command, or start again with it."
      )

  def assert_shared(self, hosts: hosts_lib.Hosts) -> None:
    """Check that all hosts see what host 0 writes in this folder.

    Raises:
      UserError: A host does not.
      StorageError: Host 0 cannot write.
    """
    if hosts.count == 1:
      return
    # A new name, as file systems cache that a file is absent.
    names = hosts.exchange(f"hosts-{secrets.token_hex(8)}.partial")
    mark = self.path / names[0]
    if self._writes:
      self.make_folder()
    self._write(mark.name, b"")
    hosts.exchange("written")
    deadline = time.monotonic() + _SHARED_SECS
    while not mark.exists() and time.monotonic() < deadline:
      time.sleep(0.1)
    sees = hosts.exchange(mark.exists())
    if self._writes:
      mark.unlink()
    if not all(sees):
      raise errors.UserError(
        f"--workdir={self.path} is not one folder: host {sees.index(False)}"
        " does not see what host 0 writes there. Give a folder that all hosts"
        " share."
      )

  def read_json(self, name: str) -> dict[str, Any] | None:
    """Return the contents of a JSON file, None if it is absent.

    Raises:
      UserError: It cannot be read, is damaged, or was changed after
        `write_json`.
    """
    sealed = self._read(name, files.read_sealed)
    if sealed is None:
      return None
    content, has_seal = sealed
    if not has_seal:
      logging.warning(
        "%s comes from version 0.1 and has no SHA-256: read unchecked.",
        self.path / name,
      )
    return content

  def read_arrays(self, name: str) -> dict[str, np.ndarray] | None:
    """Return the arrays of an .npz file, None if it is absent.

    Raises:
      UserError: It cannot be read or is damaged.
    """
    arrays = self._read(name, files.read_arrays)
    if isinstance(arrays, np.ndarray):
      raise self._damaged(name, "is damaged")
    return arrays

  def _read(self, name, read):
    try:
      return read(self.path / name)
    except FileNotFoundError:
      return None
    except NotADirectoryError:
      raise errors.UserError(
        f"--workdir={self.path} is not a folder. Give a folder."
      ) from None
    except OSError as error:
      raise errors.UserError(
        f"Cannot read {self.path / name}: {errors.describe(error)}. Repair it,"
        " or give another --workdir."
      ) from None
    except files.ChangedError:
      raise self._damaged(name, "was changed after it was written") from None
    except (ValueError, MemoryError):
      raise self._damaged(name, "is damaged") from None

  def _damaged(self, name, how):
    return errors.UserError(
      f"{self.path / name} {how}. Restore it from a copy, or give another"
      " --workdir."
    )

  def digests(self, *names: str) -> dict[str, str]:
    """Return name -> SHA-256 of the files that exist."""
    return {
      name: files.sha256(self.path / name)
      for name in names
      if (self.path / name).exists()
    }

  def check_files(self, result: Mapping[str, Any], *names: str) -> None:
    """Check that files have not changed since result.json was written.

    Args:
      result: The contents of result.json; version 0.1 recorded no digests.
      *names: Names of files.

    Raises:
      UserError: A file changed or cannot be read.
    """
    digests = result.get("files", {})
    for name in names:
      if name in digests and self._read(name, files.sha256) != digests[name]:
        raise self._damaged(
          name, "is not the file that result.json was written with"
        )

  def write_json(self, name: str, content: Mapping[str, Any]) -> None:
    """Write a JSON file with its SHA-256 atomically, if `writes`.

    Raises:
      StorageError: It cannot be written, or the folder was removed.
    """
    self._write(name, files.with_seal(content))

  def write_arrays(self, name: str, arrays: Mapping[str, np.ndarray]) -> None:
    """Write an .npz file atomically, if `writes`.

    Raises:
      StorageError: It cannot be written, or the folder was removed.
    """
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    self._write(name, buffer.getvalue())

  def _write(self, name, content):
    if not self._writes:
      return
    self.assert_ours()
    try:
      with files.replacing(self.path / name) as partial:
        partial.write_bytes(content)
    except OSError as error:
      raise errors.StorageError(
        f"Cannot write {self.path / name}: {errors.describe(error)}. Free"
        " space or repair the folder, then give the same command again."
      ) from error
