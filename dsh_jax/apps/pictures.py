"""Pictures of the items of an index."""

import functools
import pathlib

import numpy as np

from dsh_jax import data, errors
from dsh_jax.apps import image_files
from dsh_jax.apps import index as index_lib
from dsh_jax.data import archives, images
from dsh_jax.runs import stored_images
from dsh_jax.runs import workdir as workdir_lib

SMALL, LARGE = 320, 1280  # Longest side in a grid and of a query, pixels.
_TRIED = 1000  # Files that are looked for at the start.


class Pictures:
  """Pictures by row: files of a folder, or the run's data set.

  Attributes:
    are_files: Whether they are files; images of a data set have the size that
      the network takes.
  """

  def __init__(self, index: index_lib.Index, folder: str = ""):
    """Open no picture yet.

    Args:
      index: The index.
      folder: New folder of its files, if they have been moved; "" is the folder
        in the index or its run.
    """
    self._index = index
    self._root = pathlib.Path(folder or index.root).expanduser()
    if not folder and not index.root:
      self._root = self._originals()
    self.are_files = self._root is not None

  def get(
    self, row: int, max_side: int, reserve: images.Reserve | None = None
  ) -> tuple[bytes, str]:
    """Return a picture for a page, with its own proportions.

    Args:
      row: Its row, 0 to N-1.
      max_side: Longest side, pixels.
      reserve: See `images.decode`.

    Returns:
      The bytes of a PNG or JPEG file, and its media type.

    Raises:
      UserError: It cannot be read.
    """
    if not self._index.has_pictures:
      raise errors.UserError("The items of the index are features.")
    if not self.are_files:
      return image_files.thumbnail(self._split.take(np.array([row]))[0])
    name = str(self._index.ids[row])
    options = {"reserve": reserve} if reserve else {}
    try:
      path = self._root / archives.clean_path(name)
      with image_files.open_file(path) as file:
        pixels = images.decode_whole(file, max_side, **options)
    except images.UnreadableError as error:
      raise errors.UserError(
        f"Cannot show {self._root / name}: {error}."
      ) from error
    return image_files.thumbnail(pixels)

  def problem(self) -> str:
    """Return a line about missing pictures, or ""."""
    index = self._index
    if not index.has_pictures:
      return ""
    try:
      if not self.are_files:
        self._split  # noqa: B018
        return ""
      count = min(_TRIED, len(index))
      rows = np.arange(count) * len(index) // count
      folder = archives.Folder(self._root)
      gone = [name for name in index.ids[rows].tolist() if name not in folder]
    except errors.UserError as error:
      return str(error)
    if not gone:
      return ""
    return (
      f"{len(gone):,} of {count:,} pictures that were looked for are not in"
      f" {self._root}, the first is {gone[0]}. If they have been moved, give"
      " their folder by --images=FOLDER."
    )

  def _originals(self) -> pathlib.Path | None:
    """Return the folder of the run's training files, if it exists."""
    try:
      folder = stored_images.pictures_folder(*self._run)
      if not folder:
        return None
      root = pathlib.Path(folder).expanduser()
      found = str(self._index.ids[0]) in archives.Folder(root)
    except errors.UserError:
      found = False
    return root if found else None

  @functools.cached_property
  def _split(self) -> data.Split:
    """The database of the run's data set."""
    index, (config, result) = self._index, self._run
    hint = "Give the folder of the pictures by --images=FOLDER."
    if not config:
      raise errors.UserError(
        f"The run of the index is not in {index.workdir}. Give its folder by"
        f" --workdir. {hint}"
      )
    try:
      split = stored_images.open_split(
        config, result, "database", index.ids, index.class_names
      )
    except errors.UserError as error:
      raise errors.UserError(f"{error} {hint}") from error
    if not np.array_equal(split.ids, index.ids):
      raise errors.UserError(
        "The run's data set is not that of the index, so its images cannot be"
        f" shown. {hint}"
      )
    return split

  @functools.cached_property
  def _run(self) -> tuple[dict, dict]:
    """Contents of config.json and result.json of the run; {} if absent."""
    run = workdir_lib.Workdir(self._index.workdir)
    return tuple(
      run.read_json(f"{name}.json") or {} for name in ("config", "result")
    )
