"""Write files atomically; open and read files that may be anything."""

import contextlib
import hashlib
import json
import os
import pathlib
import stat
import zipfile
from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO

import numpy as np

from dsh_jax import errors

# What a compressed archive may expand to: so many bytes, or, if that is more,
# so many times its size.
_EXPANDED_BYTES = 1 << 30
_EXPANDED_TIMES = 50
SEAL = "sha256.json"  # Digests of the files beside it.


@contextlib.contextmanager
def replacing(path: pathlib.Path) -> Iterator[pathlib.Path]:
  """Yield a temporary path in the same folder, renamed to `path` at the end.

  Readers see the old file or the new one, and processes that write the same
  file do not mix. After an error the old file is unchanged and the temporary
  one is removed.

  Args:
    path: The file; an epath.Path may be an address such as gs://BUCKET.
  """
  temporary = path.with_name(f"{path.name}.{os.getpid()}.partial")
  try:
    yield temporary
    temporary.replace(path)
  except BaseException:
    with contextlib.suppress(OSError):
      temporary.unlink(missing_ok=True)
    raise


def open_regular(path: pathlib.Path) -> BinaryIO:
  """Open a regular file for reading, without waiting for a pipe's writer.

  Args:
    path: The file, or a link to it; or an epath.Path, opened as it is.

  Raises:
    OSError: It cannot be opened, or it is a folder, a pipe or a device.
  """
  if not isinstance(path, pathlib.Path):
    return path.open("rb")
  descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
  try:
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
      raise OSError(None, "Not a regular file", os.fspath(path))
    return os.fdopen(descriptor, "rb")
  except BaseException:
    os.close(descriptor)
    raise


def read_arrays(path: pathlib.Path) -> np.ndarray | dict[str, np.ndarray]:
  """Read a .npy file as an array, or a .npz file as a dict of arrays.

  Raises:
    OSError: It cannot be read.
    ValueError: It is damaged, holds anything but plain arrays, or as
      `check_archive`.
  """
  with open_regular(path) as file:  # NumPy does not close a damaged file.
    try:
      loaded = np.load(file, allow_pickle=False)
      if isinstance(loaded, np.ndarray):
        return loaded
      check_archive(loaded.zip)
      arrays = {name: loaded[name] for name in loaded.files}
    except OSError:
      raise
    # NumPy, zipfile, zlib and Python's tokenizer raise their own errors.
    except Exception as error:
      raise ValueError(errors.describe(error)) from error
    for name, array in arrays.items():
      if not isinstance(array, np.ndarray):  # NumPy returns bytes as they are.
        raise ValueError(f"{name!r} in it is not an array")
    return arrays


def check_archive(archive: zipfile.ZipFile) -> None:
  """Check that an archive does not expand beyond measure.

  Raises:
    ValueError: It would.
  """
  members = archive.infolist()
  expanded = sum(member.file_size for member in members)
  archive.fp.seek(0, os.SEEK_END)
  size = archive.fp.tell()
  # Members of a hostile archive may share their bytes.
  shared = sum(member.compress_size for member in members) > size
  if shared or expanded > max(_EXPANDED_BYTES, _EXPANDED_TIMES * size):
    raise ValueError(f"its {size:,} bytes would expand to {expanded:,}")


def sha256(path: pathlib.Path) -> str:
  """Return the SHA-256 of a file's bytes, 64 hexadecimal digits.

  Raises:
    OSError: It cannot be read.
  """
  with path.open("rb") as file:
    return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_of_json(content: Any) -> str:
  """Return the SHA-256 of what JSON can hold, 64 hexadecimal digits.

  It is that of the content as a JSON file gives it back.
  """
  content = json.loads(json.dumps(content))
  text = json.dumps(content, sort_keys=True)
  return hashlib.sha256(text.encode()).hexdigest()


class ChangedError(ValueError):
  """A file was changed after it was written."""


def with_seal(content: Mapping[str, Any]) -> bytes:
  """Return an object as a JSON file that records its own SHA-256."""
  sealed = {**content, "sha256": sha256_of_json(content)}
  return (json.dumps(sealed, indent=2) + "\n").encode()


def read_sealed(path: pathlib.Path) -> tuple[dict[str, Any], bool]:
  """Read a JSON file that `with_seal` made.

  Returns:
    The object, and whether it has a seal; version 0.1 wrote none.

  Raises:
    OSError: It cannot be read.
    ChangedError: It does not have the SHA-256 that it records.
    ValueError: It is not an object in JSON.
  """
  try:
    content = json.loads(path.read_bytes())
  except RecursionError as error:
    raise ValueError("it is nested too deeply") from error
  if not isinstance(content, dict):
    raise ValueError("it is not an object in JSON")
  sha = content.pop("sha256", None)
  if sha is not None and sha != sha256_of_json(content):
    raise ChangedError("it does not have the SHA-256 that it records")
  return content, sha is not None


def seal(folder: pathlib.Path, *names: str) -> None:
  """Record the SHA-256 of files beside them, for `check_seal`.

  Raises:
    OSError: One cannot be read, or the record cannot be written.
  """
  content = {name: sha256(folder / name) for name in names}
  with replacing(folder / SEAL) as partial:
    partial.write_text(json.dumps(content, indent=1) + "\n")


def check_seal(folder: pathlib.Path, *names: str) -> None:
  """Check that files are those that `seal` recorded, as they were.

  Raises:
    OSError: One, or the record, cannot be read.
    ValueError: One, or the record, was changed.
  """
  held = json.loads((folder / SEAL).read_bytes())
  if not isinstance(held, dict) or held.keys() != set(names):
    raise ValueError(f"{SEAL} is not of its files")
  for name in names:
    if held[name] != sha256(folder / name):
      raise ValueError(f"{name} is not as it was written")
