"""Files that are there whole or not at all."""

import contextlib
import os
import pathlib
from collections.abc import Iterator


@contextlib.contextmanager
def replacing(path: pathlib.Path) -> Iterator[pathlib.Path]:
  """Lets a file be written under another name, then renames it.

  Readers see the old file or the new one, and two processes that write the
  same file do not mix. After an error the old file is as it was, and what was
  written is removed.

  Args:
    path: The file, also as an epath.Path of an address such as gs://BUCKET.

  Yields:
    The name to write to, in the same folder.
  """
  temporary = path.with_name(f"{path.name}.{os.getpid()}.partial")
  try:
    yield temporary
    temporary.replace(path)
  except BaseException:
    with contextlib.suppress(OSError):
      temporary.unlink(missing_ok=True)
    raise
