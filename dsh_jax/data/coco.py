"""COCO 2014 (Lin et al. 2014), from the TFDS builder.

TFDS downloads the archives (38 GB, including the unlabelled test images), or
reads them from `config.data.manual_dir`. Only preparation needs TensorFlow.
"""

from typing import Any

import tensorflow_datasets as tfds

from dsh_jax.data import dataset, protocols

_VERSION = "1.1.0"


def _key(manual_dir: str) -> str:
  del manual_dir
  return f"coco/2014/{_VERSION}"


def _create_builder(
  data_dir: str, manual_dir: str, max_missing: float
) -> tfds.core.DatasetBuilder:
  del manual_dir, max_missing
  return tfds.builder(
    f"coco/2014:{_VERSION}", data_dir=data_dir, file_format="array_record"
  )


def _read(example: dict[str, Any]) -> tuple[bytes, str, list[int]]:
  name = example["image/filename"].decode()
  return example["image"], name, [int(n) for n in example["objects"]["label"]]


def _class_names(builder: tfds.core.DatasetBuilder) -> tuple[str, ...]:
  return tuple(builder.info.features["objects"]["label"].names)


_ALL = dict(database=protocols.REST, train_in_database=True)

DATASET = dataset.Dataset(
  key=_key,
  create_builder=_create_builder,
  splits=("train", "validation"),
  read=_read,
  class_names=_class_names,
  by_tfds=True,
  protocols={
    "hashnet": protocols.Protocol(
      **_ALL,
      train=10000,
      query=5000,
      validation=500,
      source="Cao et al. 2017",
    ),
    "deephash-pytorch": protocols.Protocol(
      **_ALL,
      train=10000,
      query=5000,
      validation=500,
      source="list files of DeepHash-pytorch, which are those of HashNet",
    ),
  },
)
