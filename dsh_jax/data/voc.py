"""PASCAL VOC 2007 and 2012 (Everingham et al. 2010), from the TFDS builder.

TFDS downloads the archives, or reads them from `config.data.manual_dir`. Only
preparation needs TensorFlow.
"""

from typing import Any

from dsh_jax.data import dataset, protocols

_VERSION = "5.0.0"
_TRAINVAL = ("train", "validation")


def _read(example: dict[str, Any]) -> tuple[bytes, str, list[int]]:
  name = example["image/filename"].decode()
  return example["image"], name, [int(label) for label in example["labels"]]


DATASET_2007 = dataset.from_tfds(
  "voc/2007",
  _VERSION,
  splits=(*_TRAINVAL, "test"),
  read=_read,
  protocols={
    "hyp2": protocols.Protocol(
      train=_TRAINVAL,
      query=("test",),
      database=_TRAINVAL,
      validation=500,
      source="released code of HyP2 Loss (Xu et al. 2022)",
    )
  },
)

DATASET_2012 = dataset.from_tfds(
  "voc/2012",
  _VERSION,
  splits=_TRAINVAL,  # The test images have no labels.
  read=_read,
  protocols={
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
