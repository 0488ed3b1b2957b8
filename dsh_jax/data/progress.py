"""A progress bar on a terminal, a single line elsewhere."""

import contextlib
import sys
from collections.abc import Callable, Iterator

import tqdm


@contextlib.contextmanager
def bar(
  title: str, total: int, unit: str = "images"
) -> Iterator[Callable[[int], object]]:
  """Show the progress of a task of `total` units.

  Yields:
    A function to call with the number of units just finished.
  """
  if not sys.stderr.isatty():
    print(title, file=sys.stderr, flush=True)
    yield lambda count: None
    return
  with tqdm.tqdm(
    total=total, desc=title, unit=f" {unit}", file=sys.stderr
  ) as shown:
    yield shown.update
