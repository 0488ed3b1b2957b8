"""PASCAL VOC 2007 and 2012 (Everingham et al. 2010), from the TFDS builder.

TFDS downloads the archives, or reads them from `config.data.manual_dir`. Only
preparation needs TensorFlow.
"""

import functools
from typing import Any

import tensorflow_datasets as tfds

from dsh_jax.data import dataset, protocols

_VERSION = "5.0.0"
_TRAINVAL = ("train", "validation")


def _key(manual_dir: str, year: str) -> str:
  del manual_dir
  return f"voc/{year}/{_VERSION}"


def _create_builder(
  data_dir: str, manual_dir: str, max_missing: float, year: str
) -> tfds.core.DatasetBuilder:
  del manual_dir, max_missing
  return tfds.builder(
    f"voc/{year}:{_VERSION}", data_dir=data_dir, file_format="array_record"
  )


def _read(example: dict[str, Any]) -> tuple[bytes, str, list[int]]:
  name = example["image/filename"].decode()
  return example["image"], name, [int(label) for label in example["labels"]]


def _create(year, splits, protocols_of_year):
  return dataset.Dataset(
    key=functools.partial(_key, year=year),
    create_builder=functools.partial(_create_builder, year=year),
    protocols=protocols_of_year,
    splits=splits,
    read=_read,
    by_tfds=True,
  )


DATASET_2007 = _create(
  "2007",
  (*_TRAINVAL, "test"),
  {
    "hyp2": protocols.Protocol(
      train=_TRAINVAL,
      query=("test",),
      database=_TRAINVAL,
      validation=500,
      source="released code of HyP2 Loss (Xu et al. 2022)",
    ),
  },
)

DATASET_2012 = _create(
  "2012",
  _TRAINVAL,  # The test images have no labels.
  {
    "hyp2": protocols.Protocol(
      train=("train",),
      query=("validation",),
      database=("train",),
      validation=500,
      source="released code of HyP2 Loss (Xu et al. 2022)",
    ),
    "deephash-pytorch": protocols.Protocol(
      train=4000,
      query=1000,
      database=protocols.REST,
      validation=500,
      source="list files of DeepHash-pytorch",
    ),
  },
)
