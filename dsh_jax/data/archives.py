"""Read files of a folder or a zip archive by safe relative paths."""

import codecs
import os
import pathlib
import re
import zipfile
from collections.abc import Sequence

from dsh_jax import errors

MAX_FILE_BYTES = 256 * 2**20  # Unpacked; label files and images are smaller.


def clean_path(path: str) -> str:
  """Return a relative path with forward slashes.

  Raises:
    UserError: The path is absolute or leaves its folder.
  """
  parts = [part for part in re.split(r"[/\\]+", path) if part != "."]
  if (
    not parts
    or not all(parts)
    or ".." in parts
    or "\0" in path
    or parts[0].endswith(":")
  ):
    raise errors.UserError(
      f"The path {path!r} is not allowed; paths must be relative and stay in"
      " their folder. Change the list or archive that holds it."
    )
  return "/".join(parts)


class Folder:
  """Files of a folder, by relative paths; see `clean_path`. Follows links.

  Attributes:
    root: The folder.
  """

  def __init__(self, root: pathlib.Path):
    """Read files below `root`."""
    self.root = root

  def __contains__(self, path: str) -> bool:
    # Unlike Path.is_file, False for a path that is too long.
    return os.path.isfile(self.root / clean_path(path))

  def size(self, path: str) -> int:
    """Return the size of an existing file, bytes."""
    return (self.root / clean_path(path)).stat().st_size

  def list(self, suffix: str) -> list[str]:
    """Return the sorted paths of files that end with `suffix`."""
    return sorted(
      path.relative_to(self.root).as_posix()
      for path in self.root.rglob(f"*{suffix}")
    )

  def read(self, path: str) -> bytes:
    """Return the bytes of a file."""
    full = self.root / clean_path(path)
    if not full.is_file():
      raise errors.UserError(f"There is no file {path} in {self.root}.")
    _check_size(full, full.stat().st_size)
    return full.read_bytes()


class Zip:
  """Files of a zip archive, by paths relative to a prefix; see `clean_path`.

  Attributes:
    root: The archive.
  """

  def __init__(self, path: pathlib.Path, prefix: str = ""):
    """Read files of the archive `path` whose names begin with `prefix`."""
    self.root = path
    self._prefix = prefix
    try:
      self._zip = zipfile.ZipFile(path)
    except Exception as error:  # zipfile, struct and codecs raise many types.
      raise errors.UserError(
        f"The archive {path} is damaged: {errors.describe(error)}. Download it"
        " again."
      ) from error
    self._names = set(self._zip.namelist())

  def __contains__(self, path: str) -> bool:
    return self._prefix + clean_path(path) in self._names

  def size(self, path: str) -> int:
    """Return the unpacked size of an existing file, bytes."""
    return self._zip.getinfo(self._prefix + clean_path(path)).file_size

  def list(self, suffix: str) -> list[str]:
    """Return the sorted paths of files that end with `suffix`."""
    return sorted(
      name.removeprefix(self._prefix)
      for name in self._names
      if name.startswith(self._prefix) and name.endswith(suffix)
    )

  def read(self, path: str) -> bytes:
    """Return the bytes of a file."""
    if path not in self:
      raise errors.UserError(f"There is no file {path} in {self.root}.")
    member = self._zip.getinfo(self._prefix + clean_path(path))
    _check_size(f"{self.root}/{path}", member.file_size)
    try:
      return self._zip.read(member)
    except Exception as error:  # zipfile, zlib and struct raise many types.
      raise errors.UserError(
        f"{path} in the archive {self.root} is damaged: {error}. Download it"
        " again."
      ) from error


def open_first(
  manual_dir: str, places: Sequence[str], probe: str, where: str
) -> Folder | Zip:
  """Open the first place with a file that ends with `probe`.

  Places are folders in `manual_dir`, or "ARCHIVE.zip" or "ARCHIVE.zip/PREFIX".
  The error message says `where` to download them.
  """
  root = pathlib.Path(manual_dir).expanduser()
  for place in places:
    archive, dot_zip, prefix = place.partition(".zip")
    if not dot_zip:
      source = Folder(root / place)
      if next(source.root.rglob(f"*{probe}"), None):
        return source
    elif (root / f"{archive}.zip").is_file():
      source = Zip(root / f"{archive}.zip", prefix.lstrip("/"))
      if source.list(probe):
        return source
  raise errors.UserError(
    f"Found none of {', '.join(places)} (with a file {probe}) in"
    f" {root.absolute()}. Download it from {where}, or change"
    " config.data.manual_dir."
  )


def read_lines(source: Folder | Zip, path: str) -> list[str]:
  """Return the stripped lines of a text file, see `decode_lines`."""
  return decode_lines(source.read(path), f"{source.root}/{path}")


def decode_lines(encoded: bytes, name: str) -> list[str]:
  """Return the stripped lines of UTF-8 text, without empty ones at the end."""
  try:
    text = encoded.decode("utf-8-sig")
  except UnicodeDecodeError as error:
    utf_16 = encoded[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
    raise errors.UserError(
      f"{name} is not UTF-8 text{' but UTF-16' * utf_16}. Save it as UTF-8."
    ) from error
  lines = [line.strip() for line in re.split(r"\r\n|\r|\n", text)]
  while lines and not lines[-1]:
    lines.pop()
  return lines


def _check_size(name, size):
  if size > MAX_FILE_BYTES:
    raise errors.UserError(
      f"{name} has {size:,} bytes; at most {MAX_FILE_BYTES:,} are read."
    )
