"""Long computations in parts, so that a killed one loses only the last part."""

import contextlib
import fcntl
import hashlib
import pathlib
import re
from collections.abc import Callable, Iterator, Mapping

import numpy as np

from dsh_jax import errors, files
from dsh_jax.data import progress

ROWS = 256  # Rows of a part.
_NAMES = re.compile(r"\d{9}\.npz(\.\d+\.partial)?|fingerprint|lock")


@contextlib.contextmanager
def computed(
  folder: pathlib.Path,
  count: int,
  compute_rows: Callable[[np.ndarray], Mapping[str, np.ndarray]],
  title: str,
  fingerprint: str,
  exclusive: bool = True,
) -> Iterator[dict[str, np.ndarray]]:
  """Yield arrays of all rows; an OSError of the caller keeps their parts.

  Args:
    folder: Where parts are kept meanwhile.
    count: Number of rows in all, at least 1.
    compute_rows: Rows int [n] -> arrays with n rows, by name.
    title: Title of the progress bar.
    fingerprint: Identifies the computation; parts of others are removed.
    exclusive: Whether another process at work in `folder` is an error.

  Raises:
    UserError: The folder holds other files, or another process uses it.
    OSError: A part cannot be written.
  """
  with _claimed(folder, fingerprint, exclusive):
    found = []
    with progress.bar(title, count) as update:
      for first in range(0, count, ROWS):
        rows = np.arange(first, min(first + ROWS, count))
        path = folder / f"{first:09d}.npz"
        if (part := _read(path, len(rows))) is None:
          part = compute_rows(rows)
          with files.replacing(path) as partial, partial.open("wb") as file:
            np.savez(file, **part)
        found.append(part)
        update(len(rows))
    try:
      yield {
        name: np.concatenate([part[name] for part in found])
        for name in found[0]
      }
    except errors.UserError:
      _remove(folder)
      raise
    _remove(folder)


def _remove(folder):
  # The fingerprint last: without it a killed command leaves a folder that is
  # taken for the user's.
  for path in sorted(folder.iterdir(), key=lambda x: x.name == "fingerprint"):
    path.unlink(missing_ok=True)
  folder.rmdir()


def _read(path: pathlib.Path, count: int) -> dict[str, np.ndarray] | None:
  """Return the arrays of a part; None if it is absent or damaged."""
  try:
    part = files.read_arrays(path)
  except (OSError, ValueError):
    return None
  whole = isinstance(part, dict) and part
  return part if whole and {len(x) for x in part.values()} == {count} else None


@contextlib.contextmanager
def _claimed(folder, fingerprint, exclusive):
  """Hold the folder, with no parts of another fingerprint in it."""
  fingerprint = hashlib.sha256(fingerprint.encode()).hexdigest()
  mark = folder / "fingerprint"
  if not _is_ours(folder):
    raise errors.UserError(
      f"{folder} holds files that are not those of an interrupted command."
      " Move it, or change --out."
    )
  folder.mkdir(parents=True, exist_ok=True)
  mark.touch()
  with open(folder / "lock", "w") as lock:
    try:
      if exclusive:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
      raise errors.UserError(
        f"Another process writes to {folder}. Wait for it, or change --out."
      ) from None
    except OSError:  # A file system without locks.
      pass
    if mark.read_text() != fingerprint:
      for path in folder.glob("*.npz"):
        path.unlink()
      mark.write_text(fingerprint)
    yield


def _is_ours(folder):
  """Return whether a folder is empty or absent, or of an earlier command."""
  found = {path.name: path for path in folder.glob("*")}
  if "fingerprint" not in found or not all(
    _NAMES.fullmatch(name) and path.is_file() and not path.is_symlink()
    for name, path in found.items()
  ):
    return not found
  held = files.read_bytes(found["fingerprint"])
  if not held:  # Another process has just made it.
    return not any(name.endswith(".npz") for name in found)
  return re.fullmatch(b"[0-9a-f]{64}", held) is not None
