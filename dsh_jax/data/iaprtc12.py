"""IAPR TC-12 (Grubinger et al. 2006) with the region labels of SAIAPR.

SAIAPR TC-12 (Escalante et al. 2010) labels every region of an image; an image
has the labels of all its regions. Papers use 275, 255 or 22 of them:
`config.data.labels` = "255".
"""

from dsh_jax import errors
from dsh_jax.data import archives, file_builder, protocols

WHERE = "https://www.imageclef.org/SIAPRdata"


class Iaprtc12(file_builder.FileBuilder):
  """IAPR TC-12 with the region labels of SAIAPR TC-12."""


def _open_annotations(manual_dir):
  return archives.open_first(
    manual_dir,
    ("saiapr_tc-12", "saiapr_tc-12.zip/saiapr_tc-12/", "."),
    "wlist.txt",
    WHERE,
  )


def _read_words(annotations):
  """Return {label number: word} from lines "number word"."""
  words = {}
  lines = archives.read_lines(annotations, "wlist.txt")
  for line_number, line in enumerate(lines, 1):
    number, *word = line.split(maxsplit=1)
    if not number.isdigit() or not word or int(number) in words:
      raise errors.UserError(
        f"Line {line_number} of {annotations.root}/wlist.txt is {line!r}; it"
        " must be a new number and a word."
      )
    words[int(number)] = word[0]
  return words


def _find_items(manual_dir, class_names, num_images):
  del class_names  # Their numbers are needed as well.
  annotations = _open_annotations(manual_dir)
  images = archives.open_first(
    manual_dir,
    (
      "images",
      "iaprtc12/images",
      "iaprtc12.zip/images/",
      "iaprtc12.zip/iaprtc12/images/",
    ),
    ".jpg",
    WHERE,
  )
  columns = {
    number: column for column, number in enumerate(_read_words(annotations))
  }
  labels: dict[tuple[str, int], set[int]] = {}
  for path in annotations.list("/labels.txt"):
    folder = path.split("/")[0]
    lines = archives.read_lines(annotations, path)
    for line_number, line in enumerate(lines, 1):
      where = f"Line {line_number} of {annotations.root}/{path}"
      numbers = line.split()
      if len(numbers) != 3 or not all(n.isdigit() for n in numbers):
        raise errors.UserError(
          f"{where} is {line!r}; it must be the numbers of image, region and"
          " label."
        )
      image, _, label = map(int, numbers)
      if label not in columns:
        raise errors.UserError(
          f"{where} has label {label}, which wlist.txt does not name."
        )
      labels.setdefault((folder, image), set()).add(columns[label])
  if len(labels) > num_images or not labels:
    raise errors.UserError(
      f"{annotations.root} has labels of {len(labels):,} images; it must have"
      f" 1 to {num_images:,}. Get it from {WHERE}."
    )
  return [
    file_builder.Item(
      images, f"{folder}/{image}.jpg", f"{folder}/{image}", sorted(columns)
    )
    for (folder, image), columns in sorted(labels.items())
  ]


def _read_class_names(manual_dir):
  return list(_read_words(_open_annotations(manual_dir)).values())


_IDHN = dict(
  query=1000, database=protocols.REST, validation=500, train_in_database=True
)

DATASET = file_builder.create_dataset(
  Iaprtc12,
  20000,
  _read_class_names,
  _find_items,
  protocols={
    "idhn": protocols.Protocol(
      **_IDHN,
      train=4000,
      source="Zhang et al. 2019; sizes and labels could not be checked",
    ),
    "dsrh": protocols.Protocol(
      **_IDHN,
      train=protocols.REST,
      labels="22",
      source="Zhao et al. 2015; sizes and labels could not be checked",
    ),
  },
)
