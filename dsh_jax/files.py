"""Write files atomically; read untrusted files safely."""

import contextlib
import errno
import glob
import hashlib
import json
import os
import pathlib
import stat
import zipfile
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, BinaryIO

import numpy as np

from dsh_jax import errors

# An archive may expand to the larger of this size and this multiple of its own.
_EXPANDED_BYTES = 1 << 30
_EXPANDED_TIMES = 50
_READ_BYTES = 1 << 30  # Of a file that is read at once, such as a list.
SEAL = "sha256.json"  # Digests of files in the same folder.


@contextlib.contextmanager
def replacing(path: pathlib.Path) -> Iterator[pathlib.Path]:
  """Yield a temporary path in the same folder, renamed to `path` at the end.

  Readers see the old file or the new one, never parts. After an error the old
  file is unchanged and the temporary one is removed.

  Args:
    path: May be an epath.Path such as gs://BUCKET/FILE.

  Raises:
    OSError: As `destination`, or the file cannot be written.
  """
  path = destination(path)
  temporary = path.with_name(f"{path.name}.{os.getpid()}.partial")
  try:
    yield temporary
    temporary.replace(path)
  except BaseException:
    with contextlib.suppress(OSError):
      temporary.unlink(missing_ok=True)
    raise


def remove_partial(path: pathlib.Path) -> None:
  """Remove what `replacing` left in processes that no longer run."""
  for partial in path.parent.glob(f"{glob.escape(path.name)}.*.partial"):
    process = partial.name.removesuffix(".partial").rpartition(".")[2]
    if process.isdecimal() and not _is_running(int(process)):
      partial.unlink(missing_ok=True)


def _is_running(process):
  try:
    os.kill(process, 0)
  except (ProcessLookupError, OverflowError):
    return False
  except PermissionError:
    pass
  return True


def destination(path: pathlib.Path) -> pathlib.Path:
  """Return the file that a path is, or is a link to, before it is replaced.

  Raises:
    OSError: A folder, a pipe or a device is there.
  """
  if _is_in_bucket(path):
    return path
  target = os.path.realpath(path)
  if os.path.exists(target) and not os.path.isfile(target):
    raise OSError(None, "Not a regular file", os.fspath(path))
  return type(path)(target)


def _is_in_bucket(path):
  return "://" in os.fspath(path)


def open_regular(path: pathlib.Path) -> BinaryIO:
  """Open a regular file, or a link to one, for reading.

  Never blocks, as opening a pipe would. A file in a bucket is not checked.

  Raises:
    OSError: It cannot be opened, or it is a folder, a pipe or a device.
  """
  if _is_in_bucket(path):
    return path.open("rb")
  return open(path, "rb", opener=_open_regular)


def _open_regular(path, flags):
  descriptor = os.open(path, flags | os.O_NONBLOCK)
  if not stat.S_ISREG(os.fstat(descriptor).st_mode):
    os.close(descriptor)
    raise OSError(None, "Not a regular file", path)
  return descriptor


def read_bytes(path: pathlib.Path) -> bytes:
  """Read a regular file, or a link to one.

  Raises:
    OSError: As `open_regular`, or it has more than 1 GiB.
  """
  with open_regular(path) as file:
    file.seek(0, os.SEEK_END)
    if (size := file.tell()) > _READ_BYTES:
      raise OSError(
        errno.EFBIG,
        f"{size:,} bytes; at most {_READ_BYTES:,} are read",
        os.fspath(path),
      )
    file.seek(0)
    return file.read()


def read_header(file: BinaryIO) -> tuple[tuple[int, ...], bool, np.dtype]:
  """Return shape, whether Fortran order, and type of a .npy file."""
  readers = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
  }
  version = np.lib.format.read_magic(file)
  if version not in readers:  # 3.0 is for names of fields.
    raise ValueError(f"its header has version {version}")
  return readers[version](file)


def read_arrays(
  path: pathlib.Path,
  choose: Callable[
    [Mapping[str, tuple[tuple[int, ...], np.dtype]]], Collection[str]
  ]
  | None = None,
) -> np.ndarray | dict[str, np.ndarray]:
  """Read a .npy file as an array, or a .npz file as a dict of arrays.

  Args:
    path: The file.
    choose: Name -> shape and type, of an .npz, to the names to read; raises
      ValueError to read none. None reads all.

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
      names = loaded.files
      if choose:
        names = choose({name: _look(loaded, name) for name in names})
      arrays = {name: loaded[name] for name in names}
    except OSError:
      raise
    # NumPy, zipfile, zlib and Python's tokenizer raise their own errors.
    except Exception as error:
      raise ValueError(errors.describe(error)) from error
    for name, array in arrays.items():
      if not isinstance(array, np.ndarray):  # Other members are bytes.
        raise ValueError(f"{name!r} in it is not an array")
    return arrays


def _look(archive, name):
  """Return shape and type of an array of an .npz, without reading it."""
  with archive.zip.open(f"{name}.npy") as member:
    shape, _, dtype = read_header(member)
  return shape, dtype


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
  """Return the SHA-256 of a regular file, 64 hexadecimal digits."""
  with open_regular(path) as file:
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
    content = json.loads(read_bytes(path))
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
  digests = json.loads(read_bytes(folder / SEAL))
  if not isinstance(digests, dict) or digests.keys() != set(names):
    raise ValueError(f"{SEAL} lists other files")
  for name in names:
    if digests[name] != sha256(folder / name):
      raise ValueError(f"{name} was modified")
