"""MIRFLICKR-25K (Huiskes and Lew 2008), with 38 or 24 labels.

It has 24 "potential" labels and, for 14 of them, a "relevant" one (`_r1`); 419
of the 25,000 images have no label.
"""

from dsh_jax import errors
from dsh_jax.data import archives, file_builder, protocols

WHERE = "https://press.liacs.nl/mirflickr/mirdownload.html"
CLASS_NAMES = (
  "animals", "baby", "baby_r1", "bird", "bird_r1", "car", "car_r1", "clouds",
  "clouds_r1", "dog", "dog_r1", "female", "female_r1", "flower", "flower_r1",
  "food", "indoor", "lake", "male", "male_r1", "night", "night_r1", "people",
  "people_r1", "plant_life", "portrait", "portrait_r1", "river", "river_r1",
  "sea", "sea_r1", "sky", "structures", "sunset", "transport", "tree",
  "tree_r1", "water",
)  # fmt: skip


class Mirflickr25k(file_builder.FileBuilder):
  """MIRFLICKR-25K with the labels of its annotations v080."""


def _find_items(manual_dir, class_names, num_images):
  images = archives.open_first(
    manual_dir,
    ("mirflickr", "mirflickr25k.zip/mirflickr/", "mirflickr25k/mirflickr"),
    ".jpg",
    WHERE,
  )
  annotations = archives.open_first(
    manual_dir,
    ("mirflickr25k_annotations_v080", "mirflickr25k_annotations_v080.zip"),
    "animals.txt",
    WHERE,
  )
  labels = [[] for _ in range(num_images)]
  for number, name in enumerate(class_names):
    lines = archives.read_lines(annotations, f"{name}.txt")
    for line_number, line in enumerate(lines, 1):
      image = int(line) if line.isascii() and line.isdigit() else 0
      if not 1 <= image <= num_images:
        raise errors.UserError(
          f"Line {line_number} of {annotations.root}/{name}.txt is {line!r};"
          f" it must be the number of an image, 1 to {num_images}. Get the file"
          f" from {WHERE}."
        )
      labels[image - 1].append(number)
  return [
    file_builder.Item(
      images, f"im{number}.jpg", f"im{number}", sorted(set(numbers))
    )
    for number, numbers in enumerate(labels, 1)
  ]


DATASET = file_builder.create_dataset(
  Mirflickr25k,
  25000,
  lambda manual_dir: CLASS_NAMES,
  _find_items,
  label_sets={
    "38": CLASS_NAMES,
    "24": tuple(name for name in CLASS_NAMES if not name.endswith("_r1")),
  },
  protocols={
    "hyp2": protocols.Protocol(
      train=4000,
      query=1000,
      database=protocols.REST,
      validation=500,
      source="released code of HyP2 Loss (Xu et al. 2022)",
    ),
    "deephash-pytorch": protocols.Protocol(
      train=4000,
      query=1000,
      database=20000,
      validation=500,
      keep_unlabelled=True,
      source="list files of DeepHash-pytorch",
    ),
    "dsrh": protocols.Protocol(
      train=protocols.REST,
      query=2000,
      database=protocols.REST,
      validation=500,
      train_in_database=True,
      source="Zhao et al. 2015; the sizes could not be checked",
    ),
    "idhn": protocols.Protocol(
      train=4000,
      query=2000,
      database=protocols.REST,
      validation=500,
      train_in_database=True,
      source="Zhang et al. 2019; only the 4,000 could be checked",
    ),
  },
)
