"""Finds the images nearest to an image."""

import dataclasses
import pathlib
from collections.abc import Sequence

from dsh_jax import errors, files
from dsh_jax.apps import commands, image_files, search_page
from dsh_jax.apps import index as index_lib
from dsh_jax.apps import pictures as pictures_lib
from dsh_jax.data import feature_files, images


def nearest(
  index: index_lib.Index, query: str, top: int
) -> tuple[list[tuple[int, int]], search_page.Hit]:
  """Encode an image file and find its neighbours.

  Args:
    index: The index to search.
    query: The image file.
    top: Number of results, at least 1.

  Returns:
    (distance, row) of each, nearest first, and the query for a page.
  """
  encoder = index_lib.load_encoder(index)
  if encoder.num_features is not None:
    found = feature_files.read_vectors(query, "--query", encoder.num_features)
    if len(found.ids) > 1:
      raise errors.UserError(
        f"--query={query} has {len(found.ids)} rows; give a file with one."
      )
    wanted = index_lib.encode(encoder, found.features)
    return index.nearest(wanted, top), search_page.Hit("", str(found.ids[0]))
  path = pathlib.Path(query).expanduser()
  try:
    resize = encoder.config.data.resize
    pixels = image_files.read(path, encoder.image_size, resize)
    with image_files.open_file(path) as file:
      shown = images.decode_whole(file, pictures_lib.LARGE)
  except images.UnreadableError as error:
    raise errors.UserError(f"Cannot read --query={query}: {error}.") from error
  source = search_page.data_uri(*image_files.thumbnail(shown))
  found = index.nearest(index_lib.encode(encoder, pixels), top)
  return found, search_page.Hit(source, path.name)


def nearest_to_item(
  index: index_lib.Index,
  name: str,
  top: int,
  pictures: pictures_lib.Pictures | None = None,
) -> tuple[list[tuple[int, int]], search_page.Hit]:
  """Find the neighbours of an item of the index; returns as `nearest`.

  Args:
    index: The index to search.
    name: The id of the item.
    top: Number of results, at least 1.
    pictures: Where its picture is; None shows none.

  Raises:
    UserError: There is no item of that name, or no picture of it.
  """
  if (row := index.row_of(name)) is None:
    raise errors.UserError(
      f"--id={name} is not in the index, whose first is {index.ids[0]}."
    )
  hit = search_page.Hit("", str(index.ids[row]), labels=index.labels_of(row))
  if pictures and index.has_pictures:
    picture = pictures.get(row, pictures_lib.LARGE)
    hit = dataclasses.replace(hit, source=search_page.data_uri(*picture))
  return index.nearest(index.query_of(row), top), hit


def write_page(
  path: str,
  index: index_lib.Index,
  pictures: pictures_lib.Pictures,
  found: Sequence[tuple[int, int]],
  query: search_page.Hit,
) -> None:
  """Write the result of `nearest` as one self-contained HTML file."""

  def hit(distance, row):
    labels, source = index.labels_of(row), ""
    if index.has_pictures:
      source = search_page.data_uri(*pictures.get(row, pictures_lib.SMALL))
    shared = len({*labels} & {*query.labels}) if query.labels else None
    return search_page.Hit(
      source, str(index.ids[row]), "", distance, labels, shared
    )

  html = search_page.render(
    index,
    [hit(distance, row) for distance, row in found],
    pixelated=not pictures.are_files,
    query=query,
  )
  try:
    with files.replacing(pathlib.Path(path).expanduser()) as partial:
      partial.write_text(html, encoding="utf-8")
  except OSError as error:
    raise errors.UserError(
      f"Cannot write --html={path}: {error.strerror}."
    ) from error


def main(argv: Sequence[str]) -> None:
  """Run the command."""
  given = commands.parse("search", argv)
  index = index_lib.load(given.index, given.workdir)
  if bool(given.query) == bool(given.id):
    raise errors.UserError("Give either --query=FILE or --id=NAME.")
  pictures = None
  if given.html:
    pictures = pictures_lib.Pictures(index, given.images)
  if given.id:
    found, query = nearest_to_item(index, given.id, given.top, pictures)
  else:
    found, query = nearest(index, given.query, given.top)
  if index.outputs is not None:
    print("Items at one distance are ordered by the outputs of the network.")
  print(f"rank  distance  {'image' if index.has_pictures else 'item'}")
  for rank, (distance, row) in enumerate(found, 1):
    print(f"{rank:>4}  {distance:>8}  {errors.printable(index.ids[row])}")
  if pictures:
    write_page(given.html, index, pictures, found, query)
    print(f"\nThe page is {errors.printable(given.html)}.")
