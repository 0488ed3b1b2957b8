"""What every data set has in common: one set of features, one way to build.

All builders give {image: encoded bytes, labels: class numbers, id: text} in
array_record files, which are read without TensorFlow.
"""

import contextlib
import dataclasses
import io
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import tensorflow_datasets as tfds
from absl import logging

from dsh_jax import errors
from dsh_jax.data import protocols


def create_info(
  builder: tfds.core.DatasetBuilder,
  class_names: Sequence[str],
  description: str,
  homepage: str = "",
) -> tfds.core.DatasetInfo:
  """Returns the information of a builder with the common features.

  Args:
    builder: The builder.
    class_names: Names of the L labels.
    description: A sentence or more.
    homepage: Where the data come from.
  """
  return tfds.core.DatasetInfo(
    builder=builder,
    description=description,
    homepage=homepage,
    features=tfds.features.FeaturesDict(
      {
        "image": tfds.features.Image(),
        "labels": tfds.features.Sequence(
          tfds.features.ClassLabel(names=list(class_names))
        ),
        "id": tfds.features.Text(),
      }
    ),
    disable_shuffling=True,  # Rows keep the order of the source.
    metadata=tfds.core.MetadataDict(),
  )


def _read(example: Mapping[str, Any]) -> tuple[bytes, str, list[int]]:
  labels = [int(label) for label in example["labels"]]
  return example["image"], example["id"].decode(), labels


def _class_names(builder: tfds.core.DatasetBuilder) -> tuple[str, ...]:
  return tuple(builder.info.features["labels"].feature.names)


@dataclasses.dataclass(frozen=True)
class Dataset:
  """A data set: who builds it, how it is read, how it is split.

  Attributes:
    create_builder: (data_dir, manual_dir, **options) -> TFDS builder.
    protocols: Name -> protocol; the first is the default.
    options: Names of the options that `create_builder` takes.
    splits: TFDS splits that are read; () is all of them.
    read: Example of the builder -> encoded image, id, label numbers.
    class_names: Prepared builder -> names of its labels.
    label_sets: Name -> (class names -> the names to keep); "" is all.
  """

  create_builder: Callable[..., tfds.core.DatasetBuilder]
  protocols: Mapping[str, protocols.Protocol]
  options: tuple[str, ...] = ()
  splits: tuple[str, ...] = ()
  read: Callable[[Mapping[str, Any]], tuple[bytes, str, list[int]]] = _read
  class_names: Callable[[tfds.core.DatasetBuilder], tuple[str, ...]] = (
    _class_names
  )
  label_sets: Mapping[str, Callable[[Sequence[str]], Sequence[str]]] = (
    dataclasses.field(default_factory=dict)
  )


def prepare(builder: tfds.core.DatasetBuilder, manual_dir: str) -> None:
  """Builds the record files unless they are there.

  TFDS writes to a temporary folder and renames it at the end.

  Args:
    builder: The builder.
    manual_dir: Folder of the archives that a person downloaded.

  Raises:
    UserError: A source is missing or wrong, or the disk is full.
  """
  with _quiet():  # It warns of a folder that is not there yet.
    if builder.is_prepared():
      return
  _remove_unfinished(builder)
  config = tfds.download.DownloadConfig(
    manual_dir=manual_dir or None, try_download_gcs=False
  )
  try:
    with _quiet():
      builder.download_and_prepare(
        download_config=config, file_format="array_record"
      )
  except errors.UserError:
    raise
  except OSError as error:
    raise errors.UserError(
      f"Cannot prepare {builder.name} in {builder.data_dir}: {error}."
      " Free space there, or change config.data.dir."
    ) from error


def open_sources(
  builder: tfds.core.DatasetBuilder, splits: Sequence[str]
) -> list[Sequence[Mapping[str, Any]]]:
  """Returns the records of each split, images left encoded."""
  return builder.as_data_source(
    list(splits), decoders={"image": tfds.decode.SkipDecoding()}
  )


def _remove_unfinished(builder):
  """Removes what a killed build left; the caller holds the lock."""
  final = builder.data_path
  for folder in final.parent.glob(f"incomplete.*_{final.name}"):
    folder.rmtree()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
  """Silences TFDS, whose lines and bars would drown ours."""
  verbosity = logging.get_verbosity()
  logging.set_verbosity(logging.ERROR)
  tfds.disable_progress_bar()
  try:
    with contextlib.redirect_stdout(io.StringIO()):
      with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
  finally:
    tfds.enable_progress_bar()
    logging.set_verbosity(verbosity)
