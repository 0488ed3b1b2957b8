"""Parts of an index that is being written, from which `encode` resumes."""

import contextlib
import fcntl
import io
import pathlib
import re
from collections.abc import Iterator, Sequence

import numpy as np

from dsh_jax import errors, files

_NAMES = re.compile(r"\d{8}\.npz(\.\d+\.partial)?|fingerprint|lock")


class Parts:
  """A folder of parts, each the codes of some images."""

  def __init__(
    self, folder: pathlib.Path, sizes: Sequence[int], num_words: int
  ):
    """Touch no file yet.

    Args:
      folder: The folder; its parent exists.
      sizes: Number of images of each part, readable or not.
      num_words: 32-bit words of a code.
    """
    self._folder = folder
    self._sizes = sizes
    self._num_words = num_words

  @contextlib.contextmanager
  def claimed(self, fingerprint: str) -> Iterator[None]:
    """Hold the folder; it has no parts of other input.

    Args:
      fingerprint: SHA-256 of the input, hexadecimal.

    Raises:
      UserError: The folder has files that no `encode` has written, or another
        process holds it.
      OSError: It cannot be written.
    """
    folder, mark = self._folder, self._folder / "fingerprint"
    held = mark.read_text("utf-8", "replace") if mark.is_file() else ""
    names = [path.name for path in folder.iterdir()] if folder.exists() else []
    if not all(map(_NAMES.fullmatch, names)) or (
      any(name.endswith(".npz") for name in names)
      and not re.fullmatch("[0-9a-f]{64}", held)
    ):
      raise errors.UserError(
        f"{folder} holds files that are not those of an encode that was"
        " interrupted. Move it, or change --out."
      )
    folder.mkdir(exist_ok=True)
    with open(folder / "lock", "w") as lock:
      try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
      except BlockingIOError:
        raise errors.UserError(
          f"Another process writes to {folder}. Wait for it, or change --out."
        ) from None
      except OSError:  # A file system without locks.
        pass
      if held != fingerprint:
        for path in folder.glob("*.npz"):
          path.unlink()
        mark.write_text(fingerprint)
      yield

  def missing(self) -> list[int]:
    """Return the numbers of parts that are absent or damaged."""
    numbers = range(len(self._sizes))
    return [number for number in numbers if self._read(number) is None]

  def write(
    self, number: int, codes: np.ndarray, problems: Sequence[str]
  ) -> None:
    """Write a part.

    Args:
      number: Its number, from 0.
      codes: uint32 [n,words] of its readable images.
      problems: Why an image cannot be read, "" if it can; one for each image.
    """
    buffer = io.BytesIO()
    np.savez(buffer, codes=codes, problems=np.array(problems, str))
    with files.replacing(self._path(number)) as partial:
      partial.write_bytes(buffer.getvalue())

  def read(self) -> tuple[np.ndarray, list[str]]:
    """Return codes and problems of all parts, as `write` takes them."""
    found = [self._read(number) for number in range(len(self._sizes))]
    if None in found:
      raise errors.UserError(
        f"A file of {self._folder} was damaged meanwhile. Repeat the command."
      )
    codes, problems = zip(*found, strict=True)
    return np.concatenate(codes), np.concatenate(problems).tolist()

  def remove(self) -> None:
    """Remove the folder."""
    for path in self._folder.iterdir():
      if _NAMES.fullmatch(path.name):
        path.unlink()
    self._folder.rmdir()

  def _path(self, number):
    return self._folder / f"{number:08d}.npz"

  def _read(self, number) -> tuple[np.ndarray, np.ndarray] | None:
    """Return codes and problems of a part; None if it is absent or damaged."""
    try:
      found = files.read_arrays(self._path(number))
      codes, problems = found["codes"], found["problems"]
      shape = np.count_nonzero(problems == ""), self._num_words
    except (OSError, ValueError, KeyError, TypeError, IndexError):
      return None
    whole = codes.dtype == np.uint32 and codes.shape == shape
    return (
      (codes, problems)
      if (whole and problems.shape == (self._sizes[number],))
      else None
    )
