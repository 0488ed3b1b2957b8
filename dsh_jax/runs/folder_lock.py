"""A lock that keeps a second process out of a folder."""

import fcntl
import logging
import os
import platform

from etils import epath

from dsh_jax import errors


class FolderLock:
  """A lock on a folder of a local disk, held from creation until `release`.

  The system releases it when this process ends, however it ends.
  """

  def __init__(self, folder: epath.Path):
    """Take the lock.

    Raises:
      UserError: Another process has it.
      OSError: The file `lock` cannot be written.
    """
    self._path = folder / "lock"
    # Unbuffered, so that closing it has nothing left to write.
    self._file = open(self._path, "a+b", buffering=0)
    try:
      fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
      self._file.seek(0)
      owner = self._file.read().decode().strip()
      self._file.close()
      raise errors.UserError(
        f"--workdir={folder} is in use by {owner}. Wait for it or end it, or"
        " give another --workdir."
      ) from None
    except OSError as error:
      logging.warning(
        "%s cannot be locked (%s): do not start a second run there.",
        folder,
        errors.describe(error),
      )
    # The owner, for the message above.
    self._file.truncate(0)
    self._file.write(f"process {os.getpid()} on {platform.node()}\n".encode())

  def is_in_place(self) -> bool:
    """Return False if the folder was removed or replaced meanwhile."""
    try:
      return os.path.samestat(
        os.stat(self._path), os.fstat(self._file.fileno())
      )
    except OSError:
      return False

  def release(self) -> None:
    """Let others take the lock."""
    self._file.close()
