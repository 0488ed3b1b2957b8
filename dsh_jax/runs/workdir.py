"""The files of a run: who may write them, and how they are written."""

import contextlib
import fcntl
import io
import logging
import os
import platform
import secrets
import time
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from etils import epath

from dsh_jax import errors, files
from dsh_jax.config import fields
from dsh_jax.runs import hosts as hosts_lib

# Fields that do not change what a run computes.
WITHOUT_EFFECT = {
  "data.dir",
  "data.manual_dir",
  "profile",
  "tensorboard",
  "train.prefetch",
}
_CHOSEN = ("method", "bits", "seed", "data.name", "model.backbone")
_NAMED = 3  # Fields that differ, in an error.
_SHARED_SECS = 10  # Until a file is seen by all hosts of a network drive.


def differences(held: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
  """Return how two configurations differ, "" if only without effect.

  Args:
    held: As it was, dotted field -> value.
    wanted: As it is now.
  """
  names = [
    name
    for name in (held.keys() | wanted.keys()) - WITHOUT_EFFECT
    if held.get(name) != wanted.get(name)
  ]
  # Those that a person chooses come first; they bring others with them.
  names.sort(key=lambda name: (name not in _CHOSEN, name))
  different = "; ".join(
    f"config.{name} was {held.get(name)} and is now {wanted.get(name)}"
    for name in names[:_NAMED]
  )
  if len(names) > _NAMED:
    different += f"; and {len(names) - _NAMED} more fields"
  return different


class Workdir:
  """A folder that belongs to one configuration.

  Attributes:
    path: The folder.
  """

  def __init__(self, path: str, writes: bool = True):
    """Names the folder; nothing is written yet.

    Args:
      path: The folder, a path or an address such as gs://BUCKET.
      writes: False on the hosts that leave the writing to another one.

    Raises:
      UserError: No folder was given.
    """
    if not path:
      raise errors.UserError(
        "No folder for the run was given. Give one with --workdir=DIR."
      )
    self.path = epath.Path(path)
    self._writes = writes
    self._lock = None

  def make_folder(self) -> None:
    """Create the folder unless it is there.

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
    """Check that the folder is free or holds the same configuration.

    Fields without an effect on the result, such as data.dir, may differ.

    Args:
      config: As in configs/default.py.

    Raises:
      UserError: It holds another one; the fields that differ are named. Or its
        config.json cannot be read, or `checkpoints` is not a folder.
    """
    checkpoints = self.path / "checkpoints"
    if checkpoints.exists() and not checkpoints.is_dir():
      raise errors.UserError(
        f"{checkpoints} is not a folder. Move it away, or give another"
        " --workdir."
      )
    held = self.read_json("config.json")
    if held is None:
      return
    if different := differences(held, fields.flatten(config)):
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
    """Holds the folder, created with its config.json if it is not there.

    Files that a killed run left unfinished are removed.

    On a local disk no other process can claim it meanwhile; the system
    releases it when this process ends, however it ends.

    Args:
      config: As in configs/default.py.

    Raises:
      UserError: It cannot be written, holds another configuration, or
        another process has claimed it.
    """
    if not self._writes:
      yield
      return
    with contextlib.ExitStack() as stack:
      try:
        self.path.mkdir(parents=True, exist_ok=True)
        if "://" not in str(self.path):
          # Unbuffered, so that nothing is left to write when it is closed.
          path = self.path / "lock"
          self._lock = stack.enter_context(open(path, "a+b", buffering=0))
          self._take_lock()
        self.check(config)
        for path in self.path.glob("*.partial"):  # Of a run that was killed.
          path.unlink(missing_ok=True)
        self.write_json("config.json", fields.flatten(config))
      except (OSError, errors.StorageError) as error:
        self._unclaim()
        raise errors.UserError(
          f"Cannot write to --workdir={self.path}:"
          f" {errors.describe(error.__cause__ or error)}. Give a folder that"
          " you may write to, with space."
        ) from None
      try:
        yield
      finally:
        self._lock = None

  def _take_lock(self):
    try:
      fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
      self._lock.seek(0)
      raise errors.UserError(
        f"--workdir={self.path} is in use by"
        f" {self._lock.read().decode().strip()}. Wait for it or end it, or"
        " give another --workdir."
      ) from None
    except OSError as error:
      logging.warning(
        "%s cannot be locked (%s): do not start a second run there.",
        self.path,
        errors.describe(error),
      )
    # Who holds it, for the message above.
    self._lock.truncate(0)
    self._lock.write(f"process {os.getpid()} on {platform.node()}\n".encode())

  def _unclaim(self):
    """Leaves no folder behind in which nothing but the lock was written."""
    with contextlib.suppress(OSError):
      if self._lock is not None and not (self.path / "config.json").exists():
        (self.path / "lock").unlink()
        self.path.rmdir()

  def assert_ours(self) -> None:
    """Check that the claimed folder is still the one that was claimed.

    Raises:
      StorageError: It was removed or replaced.
    """
    if self._lock is None:
      return
    try:
      found = os.stat(self.path / "lock")
    except OSError:
      found = None
    if found is None or not os.path.samestat(
      found, os.fstat(self._lock.fileno())
    ):
      raise errors.StorageError(
        f"--workdir={self.path} was removed or replaced during the run. Put"
        " it back to continue with the same command, or start afresh with it."
      )

  def assert_shared(self, hosts: hosts_lib.Hosts) -> None:
    """Check that all hosts see in this folder what the writing one writes.

    Raises:
      UserError: A host does not.
      StorageError: The writing host cannot write.
    """
    if hosts.count == 1:
      return
    # A new name: file systems remember for a while what they did not find.
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
    """Return the contents of a JSON file, or None if it is not there.

    A file without a digest, as version 0.1 wrote them, is read with a warning.

    Raises:
      UserError: It cannot be read, is not an object in JSON, or is not as
        `write_json` left it.
    """
    found = self._read(name, files.read_sealed)
    if found is None:
      return None
    content, has_seal = found
    if not has_seal:
      logging.warning(
        "%s has no SHA-256, as files of version 0.1: it is read unchecked.",
        self.path / name,
      )
    return content

  def read_arrays(self, name: str) -> dict[str, np.ndarray] | None:
    """Return the arrays of an .npz file, or None if it is not there.

    Raises:
      UserError: It cannot be read, or is not an .npz file.
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
    """Return the SHA-256 of those files that are there, by name."""
    return {
      name: files.sha256(self.path / name)
      for name in names
      if (self.path / name).exists()
    }

  def check_files(self, result: Mapping[str, Any], *names: str) -> None:
    """Check that files are those from which a result was made.

    Args:
      result: The contents of result.json; of version 0.1, nothing is checked.
      *names: Names of files.

    Raises:
      UserError: One cannot be read, or is another one.
    """
    held = result.get("files", {})
    for name in names:
      if name in held and self._read(name, files.sha256) != held[name]:
        raise self._damaged(
          name, "is not the file that result.json was written with"
        )

  def write_json(self, name: str, content: Mapping[str, Any]) -> None:
    """Write a JSON file with its SHA-256; nothing if not `writes`.

    It is written whole or not at all.

    Raises:
      StorageError: It cannot be written, or the folder was removed.
    """
    self._write(name, files.with_seal(content))

  def write_arrays(self, name: str, arrays: Mapping[str, np.ndarray]) -> None:
    """Write an .npz file, whole or not at all; nothing if not `writes`.

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
