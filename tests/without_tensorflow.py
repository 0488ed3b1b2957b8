"""Makes TensorFlow look as if it were not installed."""

import sys


class _Finder:
  """Another finder that does not find TensorFlow."""

  def __init__(self, finder):
    self._finder = finder

  def find_spec(self, name, path=None, target=None):
    if name.partition(".")[0] == "tensorflow":
      return None
    return self._finder.find_spec(name, path, target)

  def __getattr__(self, name):
    return getattr(self._finder, name)


def hide():
  """Hide it from this process; call it before anything is imported."""
  sys.meta_path[:] = [_Finder(finder) for finder in sys.meta_path]
