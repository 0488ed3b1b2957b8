"""A progress bar on a terminal, or else a single line."""

import contextlib
import sys
from collections.abc import Callable, Iterator

import tqdm


@contextlib.contextmanager
def bar(title: str, total: int) -> Iterator[Callable[[int], object]]:
  """Show the progress of a task.

  Args:
    title: Name of the task.
    total: Total number of images.

  Yields:
    A function to call with the number of images just finished.
  """
  if not sys.stderr.isatty():
    print(title, file=sys.stderr, flush=True)
    yield lambda count: None
    return
  with tqdm.tqdm(
    total=total, desc=title, unit=" images", file=sys.stderr
  ) as shown:
    yield shown.update
