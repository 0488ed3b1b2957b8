"""COCO 2014 (Lin et al. 2014), from the TFDS builder.

TFDS downloads the archives (38 GB, including the unlabelled test images), or
reads them from `config.data.manual_dir`. Only preparation needs TensorFlow.
"""

import dataclasses
from typing import Any

import tensorflow_datasets as tfds

from dsh_jax.data import dataset, protocols


def _read(example: dict[str, Any]) -> tuple[bytes, str, list[int]]:
  name = example["image/filename"].decode()
  return example["image"], name, [int(n) for n in example["objects"]["label"]]


def _class_names(builder: tfds.core.DatasetBuilder) -> tuple[str, ...]:
  return tuple(builder.info.features["objects"]["label"].names)


_PROTOCOL = protocols.Protocol(
  train=10000,
  query=5000,
  database=protocols.REST,
  validation=500,
  train_in_database=True,
  source="Cao et al. 2017",
)

DATASET = dataset.from_tfds(
  "coco/2014",
  "1.1.0",
  splits=("train", "validation"),
  read=_read,
  class_names=_class_names,
  protocols={
    "hashnet": _PROTOCOL,
    "deephash-pytorch": dataclasses.replace(
      _PROTOCOL,
      source="list files of DeepHash-pytorch, which are those of HashNet",
    ),
  },
)
