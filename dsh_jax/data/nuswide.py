"""NUS-WIDE (Chua et al. 2009), with 81 concepts or the 21 most frequent.

Images without any of the 81 concepts (about a fifth) are never built.
"""

import numpy as np

from dsh_jax import errors
from dsh_jax.data import archives, file_builder, protocols

WHERE = (
  "https://lms.comp.nus.edu.sg/wp-content/uploads/2019/research/nuswide/"
  "NUS-WIDE.html"
)


class Nuswide(file_builder.FileBuilder):
  """NUS-WIDE with its 81 concepts."""

  KEEP_UNLABELLED = False  # No protocol uses them.


def _read_class_names(manual_dir):
  source = archives.open_first(
    manual_dir,
    ("ConceptsList", "ConceptsList.zip/ConceptsList/", "ConceptsList.zip"),
    "Concepts81.txt",
    WHERE,
  )
  return archives.read_lines(source, "Concepts81.txt")


def _find_items(manual_dir, class_names, num_images):
  image_list = archives.open_first(
    manual_dir,
    ("ImageList", "ImageList.zip/ImageList/", "ImageList.zip"),
    "Imagelist.txt",
    WHERE,
  )
  truth = archives.open_first(
    manual_dir,
    (
      "Groundtruth/AllLabels",
      "AllLabels",
      "Groundtruth.zip/Groundtruth/AllLabels/",
      "Groundtruth.zip/AllLabels/",
    ),
    f"Labels_{class_names[0]}.txt",
    WHERE,
  )
  images = archives.open_first(
    manual_dir, ("Flickr", "Flickr.zip/Flickr/"), ".jpg", WHERE
  )
  paths = _read_exactly(image_list, "Imagelist.txt", num_images)
  labels = np.zeros((num_images, len(class_names)), bool)
  for number, name in enumerate(class_names):
    path = f"Labels_{name}.txt"
    lines = np.array(_read_exactly(truth, path, num_images))
    wrong = np.flatnonzero((lines != "0") & (lines != "1"))
    if len(wrong):
      raise errors.UserError(
        f"Line {wrong[0] + 1} of {truth.root}/{path} is"
        f" {str(lines[wrong[0]])!r}; it must be 0 or 1. Get the file from"
        f" {WHERE}."
      )
    labels[:, number] = lines == "1"
  paths = [archives.clean_path(path) for path in paths]
  return [
    file_builder.Item(images, path, path, np.flatnonzero(row).tolist())
    for path, row in zip(paths, labels, strict=True)
  ]


def _read_exactly(source, path, count):
  lines = archives.read_lines(source, path)
  if len(lines) != count:
    raise errors.UserError(
      f"{source.root}/{path} has {len(lines):,} lines; it must have one for"
      f" each of {count:,} images. Get it from {WHERE}."
    )
  return lines


_BY_CLASS = dict(
  train=500,
  query=100,
  database=protocols.REST,
  validation=500,
  train_in_database=True,
  per_class=True,
  labels="21",
)

DATASET = file_builder.create_dataset(
  Nuswide,
  269648,
  _read_class_names,
  _find_items,
  protocols={
    "hyp2": protocols.Protocol(
      **_BY_CLASS, source="released code of HyP2 Loss (Xu et al. 2022)"
    ),
    "deephash-pytorch": protocols.Protocol(
      **_BY_CLASS, source="list files of DeepHash-pytorch"
    ),
    "hashnet": protocols.Protocol(
      train=10000,
      query=5000,
      database=protocols.REST,
      validation=500,
      train_in_database=True,
      source=(
        "Cao et al. 2017; their list files name other images, see listfile"
      ),
    ),
  },
)
