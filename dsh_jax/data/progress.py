"""One progress bar on a terminal, one line anywhere else."""

import contextlib
import sys
from collections.abc import Callable, Iterator

import tqdm


@contextlib.contextmanager
def bar(
  title: str, total: int, unit: str = "images"
) -> Iterator[Callable[[int], object]]:
  """Shows how far something has come.

  Args:
    title: What is done.
    total: How many there are in all.
    unit: Of what.

  Yields:
    A function that is called with the number of those just done.
  """
  if not sys.stderr.isatty():
    print(title, file=sys.stderr, flush=True)
    yield lambda count: None
    return
  with tqdm.tqdm(
    total=total, desc=title, unit=f" {unit}", file=sys.stderr
  ) as shown:
    yield shown.update
