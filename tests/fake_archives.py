"""Small archives with the layout and names of the real ones.

Each function fills a folder and returns the options of `data.load_splits`.
"""

import io
import json
import pathlib
import tarfile
import zipfile
from unittest import mock

import numpy as np
from PIL import Image

from dsh_jax import data
from dsh_jax.data import arrays
from dsh_jax.data import mirflickr25k as mirflickr25k_lib

NUSWIDE_CONCEPTS = 81
COCO_CATEGORIES = 80


def jpeg(seed: int, size: tuple[int, int] = (40, 30)) -> bytes:
  """Return a JPEG of one colour with some noise."""
  rng = np.random.default_rng(seed)
  pixels = rng.uniform(0, 255, 3) + rng.normal(0, 9, (*size[::-1], 3))
  return encode(Image.fromarray(pixels.clip(0, 255).astype(np.uint8)))


def encode(image: Image.Image, format: str = "JPEG", **options) -> bytes:
  """Return an image as the bytes of a file."""
  buffer = io.BytesIO()
  image.save(buffer, format, **options)
  return buffer.getvalue()


def write(folder: pathlib.Path, files: dict[str, bytes]) -> None:
  """Write files by relative path."""
  for path, content in files.items():
    full = folder / path
    full.parent.mkdir(parents=True, exist_ok=True)
    full.write_bytes(content)


def write_zip(path: pathlib.Path, files: dict[str, bytes]) -> None:
  """Write files into a zip archive."""
  path.parent.mkdir(parents=True, exist_ok=True)
  with zipfile.ZipFile(path, "w") as archive:
    for name, content in files.items():
      archive.writestr(name, content)


def write_tar(path: pathlib.Path, files: dict[str, bytes]) -> None:
  """Write files into a tar archive."""
  path.parent.mkdir(parents=True, exist_ok=True)
  with tarfile.open(path, "w") as archive:
    for name, content in files.items():
      member = tarfile.TarInfo(name)
      member.size = len(content)
      archive.addfile(member, io.BytesIO(content))


def random_labels(num_images: int, num_classes: int) -> np.ndarray:
  """Return bool [N,L] with one to four labels in every row."""
  rng = np.random.default_rng(num_images)
  labels = np.zeros((num_images, num_classes), bool)
  for row in labels:
    row[rng.integers(0, num_classes, rng.integers(1, 5))] = True
  return labels


def mirflickr25k(
  folder: pathlib.Path, num_images: int = 60, zipped: bool = False
) -> dict:
  """Make MIRFLICKR-25K; image 7 has no label."""
  names = mirflickr25k_lib.CLASS_NAMES
  labels = random_labels(num_images, len(names))
  labels[6] = False
  images = {f"mirflickr/im{n + 1}.jpg": jpeg(n) for n in range(num_images)} | {
    "mirflickr/doc/readme.txt": b"readme"
  }
  lists = {
    f"{name}.txt": "".join(
      f"{row + 1}\r\n" for row in np.flatnonzero(labels[:, column])
    ).encode()
    for column, name in enumerate(names)
  } | {"README.txt": b"readme"}
  if zipped:
    write_zip(folder / "mirflickr25k.zip", images)
    write_zip(folder / "mirflickr25k_annotations_v080.zip", lists)
  else:
    write(folder, images)
    write(folder / "mirflickr25k_annotations_v080", lists)
  return {"manual_dir": str(folder), "num_images": num_images}


def nuswide(folder: pathlib.Path, num_images: int = 120) -> dict:
  """Make NUS-WIDE; concepts 30 to 50 are frequent, image 5 has none."""
  concepts = [f"concept{n:02d}" for n in range(NUSWIDE_CONCEPTS)]
  labels = random_labels(num_images, NUSWIDE_CONCEPTS)
  rng = np.random.default_rng(0)
  labels &= rng.random(labels.shape) < 0.3
  labels[:, 30:51] |= rng.random((num_images, 21)) < 0.15
  labels[4] = False
  paths = [f"folder{n % 3}\\{n:04d}_{n * 7}.jpg" for n in range(num_images)]
  files = {
    "ImageList/Imagelist.txt": "".join(f"{p}\r\n" for p in paths).encode(),
    "ConceptsList/Concepts81.txt": "".join(f"{c}\n" for c in concepts).encode(),
  }
  for column, concept in enumerate(concepts):
    text = "".join(f"{value:d}\n" for value in labels[:, column])
    files[f"Groundtruth/AllLabels/Labels_{concept}.txt"] = text.encode()
  for number, path in enumerate(paths):
    files["Flickr/" + path.replace("\\", "/")] = jpeg(number)
  write(folder, files)
  return {"manual_dir": str(folder), "num_images": num_images}


def iaprtc12(folder: pathlib.Path, num_images: int = 60) -> dict:
  """Make IAPR TC-12 with the labels of SAIAPR; 30 words, 40 folders."""
  labels = random_labels(num_images, 30)
  words = "".join(f"{n + 1}\tword {n}\r\n" for n in range(30))
  files = {"saiapr_tc-12/wlist.txt": words.encode()}
  regions = {}
  for number, row in enumerate(labels):
    place = f"{number % 40:02d}"
    files[f"images/{place}/{number + 1}.jpg"] = jpeg(number)
    regions.setdefault(place, []).extend(
      f"{number + 1} {region + 1} {label + 1}\n"
      for region, label in enumerate(np.flatnonzero(row))
    )
  for place, lines in regions.items():
    files[f"saiapr_tc-12/{place}/labels.txt"] = "".join(lines).encode()
  write(folder, files)
  return {"manual_dir": str(folder), "num_images": num_images}


_VOC_NAMES = {
  ("2007", "trainval"): "VOCtrainval_06-Nov-2007.tar",
  ("2007", "test"): "VOCtest_06-Nov-2007.tar",
  ("2012", "trainval"): "VOCtrainval_11-May-2012.tar",
  ("2012", "test"): "VOC2012test.tar",
}
_VOC_CLASSES = (
  "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat",
  "chair", "cow", "diningtable", "dog", "horse", "motorbike", "person",
  "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip


def voc(folder: pathlib.Path, year: str, num_images: int = 20) -> dict:
  """Make the two archives of a year of PASCAL VOC."""
  number = 0
  for archive, splits in (("trainval", ("train", "val")), ("test", ("test",))):
    files = {}
    root = f"VOCdevkit/VOC{year}"
    for split in splits:
      names = []
      for _ in range(num_images):
        number += 1
        name = f"{number:06d}"
        names.append(name)
        files[f"{root}/JPEGImages/{name}.jpg"] = jpeg(number)
        objects = "".join(
          f"<object><name>{_VOC_CLASSES[n % 20]}</name><pose>Left</pose>"
          f"<truncated>0</truncated><difficult>{n % 2}</difficult>"
          "<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>20</xmax><ymax>20</ymax>"
          "</bndbox></object>"
          for n in (number, number * 3, number)
        )
        files[f"{root}/Annotations/{name}.xml"] = (
          "<annotation><size><width>40</width><height>30</height></size>"
          f"{objects}</annotation>"
        ).encode()
      files[f"{root}/ImageSets/Main/{split}.txt"] = "\n".join(names).encode()
    write_tar(folder / _VOC_NAMES[year, archive], files)
  return {"manual_dir": str(folder)}


def coco(folder: pathlib.Path, num_images: int = 30) -> dict:
  """Make the archives of COCO 2014; the third image has no label."""
  categories = [
    {"id": n + 1 + n // 10, "name": f"thing {n}", "supercategory": "x"}
    for n in range(COCO_CATEGORIES)
  ]
  annotations = {}
  for split in ("train2014", "val2014", "test2014", "test2015"):
    files, images, objects = {}, [], []
    for number in range(1, num_images + 1):
      name = f"COCO_{split}_{number:012d}.jpg"
      files[f"{split}/{name}"] = jpeg(number)
      images.append(
        {"id": number, "file_name": name, "width": 40, "height": 30}
      )
      for n in (number, 2 * number, number):
        if number != 3:
          objects.append(
            {
              "id": len(objects),
              "image_id": number,
              "category_id": categories[n % COCO_CATEGORIES]["id"],
              "bbox": [1, 1, 10, 10],
              "area": 100,
              "iscrowd": 0,
            }
          )
    write_zip(folder / f"{split}.zip", files)
    content = {"images": images, "categories": categories}
    if split.startswith("test"):
      write_zip(
        folder / f"image_info_{split}.zip",
        {f"annotations/image_info_{split}.json": _json(content)},
      )
    else:
      content["annotations"] = objects
      annotations[f"annotations/instances_{split}.json"] = _json(content)
  write_zip(folder / "annotations_trainval2014.zip", annotations)
  return {"manual_dir": str(folder)}


def _json(content):
  return json.dumps(content).encode()


def any_checksum():
  """Make TFDS accept fake archives, whose checksums are not the real ones."""
  return mock.patch(
    "tensorflow_datasets.core.download.download_manager.DownloadManager"
    "._register_or_validate_checksums"
  )


def prepare_by_tfds(folder: pathlib.Path) -> None:
  """Prepare VOC and COCO at 16 pixels in the subfolder `data`."""
  with any_checksum():
    for name, options in (
      ("voc2007", voc(folder / "voc2007", "2007")),
      ("voc2012", voc(folder / "voc2012", "2012")),
      ("coco", coco(folder / "coco")),
    ):
      arrays.load(
        data.DATASETS[name],
        data_dir=str(folder / "data"),
        manual_dir=options["manual_dir"],
        image_size=16,
      )


def listfiles(folder: pathlib.Path, num_images: int = 60) -> dict:
  """Make pictures and three list files of 5 labels; train is in database."""
  labels = random_labels(num_images, 5).astype(int)
  write(folder, {f"pictures/{n:03d}.jpg": jpeg(n) for n in range(num_images)})
  lines = [
    " ".join([f"pictures/{n:03d}.jpg", *map(str, row)])
    for n, row in enumerate(labels)
  ]
  parts = {"train": lines[10:40], "query": lines[:10], "database": lines[10:]}
  options = {"manual_dir": str(folder)}
  for name, part in parts.items():
    path = folder / f"{name}.txt"
    path.write_text("\n".join(part) + "\n")
    options[name] = str(path)
  return options


def csv(folder: pathlib.Path, num_images: int = 60) -> dict:
  """Make pictures and one CSV file of 5 labels."""
  labels = random_labels(num_images, 5)
  write(folder, {f"pictures/{n:03d}.jpg": jpeg(n) for n in range(num_images)})
  lines = ["path,labels"] + [
    f"pictures/{n:03d}.jpg,{';'.join(f'c{k}' for k in np.flatnonzero(row))}"
    for n, row in enumerate(labels)
  ]
  path = folder / "pictures.csv"
  path.write_text("\r\n".join(lines))
  return {"manual_dir": str(folder), "csv": str(path)}
