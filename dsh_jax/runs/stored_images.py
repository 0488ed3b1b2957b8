"""The images that a run stored, found from any working directory."""

import pathlib
from collections.abc import Mapping
from typing import Any

import ml_collections
import numpy as np

from dsh_jax import data, errors
from dsh_jax.config import factories, fields
from dsh_jax.data import arrays


def folders(
  config: ml_collections.ConfigDict, splits: data.Splits
) -> dict[str, str]:
  """Return the absolute folders that result.json records.

  Args:
    config: The configuration; its paths may be relative.
    splits: Of the run.

  Returns:
    "prepared", the array of images, and "pictures", their files ("" if the
    data set needs none); {} for a data set of features.
  """
  if config.data.name == "features":
    return {}
  pictures, manual_dir = "", config.data.manual_dir
  if manual_dir or config.data.name == "listfile":
    pictures = str(pathlib.Path(manual_dir).expanduser().absolute())
  prepared = pathlib.Path(splits.train.images.filename).absolute().parent
  return {"pictures": pictures, "prepared": str(prepared)}


def pictures_folder(
  config: Mapping[str, Any], result: Mapping[str, Any]
) -> str:
  """Return where the files of a run's images were; "" if it needs none.

  Args:
    config: The contents of config.json.
    result: The contents of result.json.
  """
  recorded = result.get("folders", {})
  return recorded.get("pictures", config.get("data.manual_dir", ""))


def open_split(
  config: Mapping[str, Any],
  result: Mapping[str, Any],
  name: str,
  ids: np.ndarray,
  class_names: tuple[str, ...],
) -> data.Split:
  """Open the images of a run; prepare them again if the cache was emptied.

  Args:
    config: The contents of config.json.
    result: The contents of result.json.
    name: "query" or "database".
    ids: str [N], those of the run.
    class_names: Names of the labels.

  Raises:
    UserError: They are not in the cache and cannot be prepared again.
  """
  prepared = result.get("folders", {}).get("prepared")
  if prepared:
    found = arrays.find(pathlib.Path(prepared), ids, class_names)
    if found is not None:
      return found
  made = fields.unflatten(config)
  made.data.manual_dir = pictures_folder(config, result)
  try:
    return getattr(factories.load_splits(made), name)
  except errors.UserError as error:
    if made.data.name != "listfile":
      raise
    # It names fields of a command line that was given elsewhere.
    raise errors.UserError(
      "The pictures of the run are neither in"
      f" {made.data.manual_dir or 'the working directory'} nor in the cache."
    ) from error
