"""TFDS builder of image files in folders and archives."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import tensorflow_datasets as tfds

from dsh_jax import errors
from dsh_jax.data import archives, dataset, disk, progress


class Item(NamedTuple):
  """An image that a data set lists.

  Attributes:
    source: Its folder or archive.
    path: Its path in the source.
    id: Its id, unique in the data set.
    labels: Numbers of its labels, 0 to L-1.
  """

  source: archives.Folder | archives.Zip
  path: str
  id: str
  labels: Sequence[int]


class FileBuilder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
  """Copies listed image files, unchanged, and their labels into records.

  The metadata count "absent" images and "unlabelled" ones that were left out.
  Building raises UserError if too many are absent or the disk is too small.
  """

  VERSION = tfds.core.Version("1.0.0")
  # Whether to build images without a label; else they are only counted.
  KEEP_UNLABELLED = True

  def __init__(
    self,
    *,
    data_dir: str,
    variant: str,
    class_names: Sequence[str],
    find_items: Callable[[], list[Item]],
    max_missing: float,
  ):
    """Set up the builder of all images that `find_items` lists.

    A share `max_missing`, 0 to 1, may be absent. `variant` names the folder.
    """
    self._class_names = class_names
    self._find_items = find_items
    self._max_missing = max_missing
    super().__init__(
      data_dir=data_dir,
      config=tfds.core.BuilderConfig(name=variant),
      file_format="array_record",
    )

  def _info(self) -> tfds.core.DatasetInfo:
    return dataset.create_info(self, self._class_names, type(self).__doc__)

  def _split_generators(self, dl_manager) -> dict[str, Iterator]:
    del dl_manager  # The files are read in place.
    return {"images": self._generate_examples()}

  def _generate_examples(self) -> Iterator:
    listed = self._find_items()
    items = [item for item in listed if item.labels or self.KEEP_UNLABELLED]
    present = [item for item in items if item.path in item.source]
    absent = len(items) - len(present)
    if absent > self._max_missing * len(items):
      first = next(item for item in items if item.path not in item.source)
      if not present:
        raise errors.UserError(
          f"None of the {absent:,} listed images is in {first.source.root}; the"
          f" first is {first.path}. Change config.data.manual_dir, or the paths"
          " in the list, which are relative to it."
        )
      raise errors.UserError(
        f"{absent:,} of {len(items):,} listed images are absent, such as"
        f" {first.path} in {first.source.root}; at most"
        f" {self._max_missing:.1%} may be. Add them, or raise"
        " config.data.max_missing."
      )
    self.info.metadata["absent"] = absent
    self.info.metadata["unlabelled"] = len(listed) - len(items)
    disk.check_space(
      self.data_path.parent,
      sum(item.source.size(item.path) for item in present),
      f"a copy of {len(present):,} images",
    )
    title = f"{self.name}: reading {len(present):,} images"
    with progress.bar(title, len(present)) as update:
      for number, item in enumerate(present):
        yield (
          number,
          {
            "image": item.source.read(item.path),
            "labels": list(item.labels),
            "id": item.id,
          },
        )
        update(1)


def create_dataset(
  builder: type[FileBuilder],
  num_images: int,
  read_class_names: Callable[[str], Sequence[str]],
  find_items: Callable[[str, Sequence[str], int], list[Item]],
  **fields: Any,
) -> dataset.Dataset:
  """Return a data set of downloaded archives.

  Args:
    builder: Its builder.
    num_images: Images in the archives; default of an option of this name.
    read_class_names: manual_dir -> names of the L labels.
    find_items: (manual_dir, names, num_images) -> all listed images.
    **fields: Other fields of `dataset.Dataset`.
  """
  total = num_images

  def key(manual_dir, num_images=total):
    del manual_dir
    return f"{builder.name}/{num_images}/{builder.VERSION}"

  def create_builder(data_dir, manual_dir, max_missing, num_images=total):
    class_names = read_class_names(manual_dir)
    return builder(
      data_dir=data_dir,
      variant=str(num_images),
      class_names=class_names,
      find_items=lambda: find_items(manual_dir, class_names, num_images),
      max_missing=max_missing,
    )

  return dataset.Dataset(
    key=key, create_builder=create_builder, options=("num_images",), **fields
  )
