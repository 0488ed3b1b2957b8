"""How a data set is built, read and split.

Builders write {image: encoded bytes, labels: class numbers, id: text} to
array_record files, which are read without TensorFlow.
"""

import contextlib
import dataclasses
import io
import os
import sys
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
  """Return the DatasetInfo of a builder with the features of all data sets."""
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
  """A data set: how to build, read and split it.

  Attributes:
    protocols: Name -> protocol; the first is the default.
    key: (manual_dir, **options) -> name, variant and version; data sets with
      the same key share prepared data. Those of the user's files have another
      key once a file changes.
    create_builder: (data_dir, manual_dir, max_missing, **options) -> TFDS
      builder. It may have `groups`: name -> ids in a list; and `together`: id
      -> name, where items with one name stay on one side of the splits.
    options: Names of the options that `key` and `create_builder` take.
    splits: TFDS splits to read; () is all of them.
    read: Example of the builder -> encoded image, id, label numbers.
    class_names: Prepared builder -> names of its labels.
    label_sets: Name -> labels to keep.
    choose: (name of a protocol or "", options) -> name and protocol, if
      options change the protocol.
    load: **options -> `splits.Items` of vectors, instead of a builder.
    choose_loaded: (name of a protocol or "", items) -> name and protocol.
    by_tfds: Whether the builder is TFDS's own, which needs TensorFlow to
      prepare and shows its own progress.
    unused_fields: Fields of config.data that this data set ignores.
  """

  protocols: Mapping[str, protocols.Protocol]
  key: Callable[..., str]
  create_builder: Callable[..., tfds.core.DatasetBuilder] | None = None
  options: tuple[str, ...] = ()
  splits: tuple[str, ...] = ()
  read: Callable[[Mapping[str, Any]], tuple[bytes, str, list[int]]] = _read
  class_names: Callable[[tfds.core.DatasetBuilder], tuple[str, ...]] = (
    _class_names
  )
  label_sets: Mapping[str, tuple[str, ...]] = dataclasses.field(
    default_factory=dict
  )
  choose: Callable[..., tuple[str, protocols.Protocol]] | None = None
  load: Callable[..., Any] | None = None
  choose_loaded: Callable[..., tuple[str, protocols.Protocol]] | None = None
  by_tfds: bool = False
  unused_fields: tuple[str, ...] = ()


def from_tfds(name: str, version: str, **fields: Any) -> Dataset:
  """Return a data set of TFDS, such as "coco/2014", with other `fields`."""

  def create_builder(data_dir, manual_dir, max_missing):
    del manual_dir, max_missing
    return tfds.builder(
      f"{name}:{version}", data_dir=data_dir, file_format="array_record"
    )

  return Dataset(
    key=lambda manual_dir: f"{name}/{version}",
    create_builder=create_builder,
    by_tfds=True,
    **fields,
  )


def prepare(
  builder: tfds.core.DatasetBuilder, manual_dir: str, by_tfds: bool
) -> None:
  """Build the record files unless they exist.

  TFDS writes to a temporary folder and renames it at the end. The caller must
  keep other processes from preparing the same data.
  """
  with quiet():  # It warns if the folder does not exist yet.
    if builder.is_prepared():
      return
  _remove_unfinished(builder)
  if by_tfds:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")  # Prints, if on.
  config = tfds.download.DownloadConfig(
    manual_dir=os.path.abspath(os.path.expanduser(manual_dir or ".")),
    try_download_gcs=False,
  )
  try:
    with quiet(bars=by_tfds and sys.stderr.isatty()):
      builder.download_and_prepare(
        download_config=config, file_format="array_record"
      )
  except errors.UserError:
    raise
  except ImportError as error:
    raise errors.UserError(
      f"Preparing {builder.name} needs TensorFlow ({error}); install it, or"
      " copy the prepared data from a machine that has it into"
      " config.data.dir."
    ) from error
  except (OSError, RuntimeError) as error:  # array_record raises RuntimeError.
    raise errors.UserError(
      f"Cannot prepare {builder.name} in {builder.data_dir}: {error}."
      " Free space there, or change config.data.dir."
    ) from error
  # TFDS raises many types: no network, a wrong checksum.
  except Exception as error:
    if not by_tfds:
      raise
    raise errors.UserError(
      f"Cannot prepare {builder.name}: {' '.join(str(error).split())}. Put the"
      " archives into config.data.manual_dir to prepare them offline."
    ) from error


def open_sources(
  builder: tfds.core.DatasetBuilder, splits: Sequence[str]
) -> list[Sequence[Mapping[str, Any]]]:
  """Open the records of each split for `Dataset.read`; images stay encoded."""
  return builder.as_data_source(
    list(splits), decoders={"image": tfds.decode.SkipDecoding()}
  )


def _remove_unfinished(builder):
  """Remove what a killed build left; the caller holds the lock."""
  final = builder.data_path
  for folder in final.parent.glob(f"incomplete.*_{final.name}"):
    folder.rmtree()


@contextlib.contextmanager
def quiet(bars: bool = False) -> Iterator[None]:
  """Silence TFDS, except for its progress bars if `bars`."""
  verbosity = logging.get_verbosity()
  logging.set_verbosity(logging.ERROR)
  if not bars:
    tfds.disable_progress_bar()
  try:
    with contextlib.redirect_stdout(io.StringIO()):
      with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
  finally:
    tfds.enable_progress_bar()
    logging.set_verbosity(verbosity)
