"""Write files atomically; read untrusted files safely."""

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

# An archive may expand to the larger of this size and this multiple of its own.
_EXPANDED_BYTES = 1 << 30
_EXPANDED_TIMES = 50
SEAL = "sha256.json"  # Digests of files in the same folder.


@contextlib.contextmanager
def replacing(path: pathlib.Path) -> Iterator[pathlib.Path]:
  """Yield a temporary path in the same folder, renamed to `path` at the end.

  Readers see the old file or the new one, never parts. After an error the old
  file is unchanged and the temporary one is removed.

  Args:
    path: May be an epath.Path such as gs://BUCKET/FILE.
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
  """Open a regular file, or a link to one, for reading.

  Never blocks, as opening a pipe would. An epath.Path is opened unchecked.

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
    ValueError: It is damaged, holds Python objects, or expands too much.
  """
  with open_regular(path) as file:  # np.load does not close a damaged file.
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
      if not isinstance(array, np.ndarray):  # Other members are bytes.
        raise ValueError(f"{name!r} in it is not an array")
    return arrays


def check_archive(archive: zipfile.ZipFile) -> None:
  """Raise ValueError if an archive would expand too much."""
  members = archive.infolist()
  expanded = sum(member.file_size for member in members)
  archive.fp.seek(0, os.SEEK_END)
  size = archive.fp.tell()
  # Members of a hostile archive may share their bytes.
  shared = sum(member.compress_size for member in members) > size
  if shared or expanded > max(_EXPANDED_BYTES, _EXPANDED_TIMES * size):
    raise ValueError(f"its {size:,} bytes would expand to {expanded:,}")


def sha256(path: pathlib.Path) -> str:
  """Return the SHA-256 of a file, 64 hexadecimal digits."""
  with path.open("rb") as file:
    return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_of_json(content: Any) -> str:
  """Return the SHA-256 of a JSON value, 64 hexadecimal digits."""
  content = json.loads(json.dumps(content))  # As read from a file.
  text = json.dumps(content, sort_keys=True)
  return hashlib.sha256(text.encode()).hexdigest()


class ChangedError(ValueError):
  """A file was modified after it was written."""


def with_seal(content: Mapping[str, Any]) -> bytes:
  """Return a JSON object with its own SHA-256, as the bytes of a file."""
  sealed = {**content, "sha256": sha256_of_json(content)}
  return (json.dumps(sealed, indent=2) + "\n").encode()


def read_sealed(path: pathlib.Path) -> tuple[dict[str, Any], bool]:
  """Read a JSON file written with `with_seal`.

  Returns:
    The object, and whether it has a SHA-256; version 0.1 wrote none.

  Raises:
    OSError: It cannot be read.
    ChangedError: Its SHA-256 is wrong.
    ValueError: It is not a JSON object.
  """
  try:
    content = json.loads(path.read_bytes())
  except RecursionError as error:
    raise ValueError("it is nested too deeply") from error
  if not isinstance(content, dict):
    raise ValueError("it is not a JSON object")
  sha = content.pop("sha256", None)
  if sha is not None and sha != sha256_of_json(content):
    raise ChangedError("its SHA-256 does not match")
  return content, sha is not None


def seal(folder: pathlib.Path, *names: str) -> None:
  """Write the SHA-256 of files of a folder to `SEAL`."""
  content = {name: sha256(folder / name) for name in names}
  with replacing(folder / SEAL) as partial:
    partial.write_text(json.dumps(content, indent=1) + "\n")


def check_seal(folder: pathlib.Path, *names: str) -> None:
  """Check files against `SEAL`.

  Raises:
    OSError: One of them cannot be read.
    ValueError: One of them was modified.
  """
  digests = json.loads((folder / SEAL).read_bytes())
  if not isinstance(digests, dict) or digests.keys() != set(names):
    raise ValueError(f"{SEAL} lists other files")
  for name in names:
    if digests[name] != sha256(folder / name):
      raise ValueError(f"{name} was modified")
