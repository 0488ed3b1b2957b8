"""Finds the images nearest to an image."""

import dataclasses
import pathlib
from collections.abc import Sequence

from dsh_jax import errors, files
from dsh_jax.apps import commands, image_files, search_page
from dsh_jax.apps import index as index_lib
from dsh_jax.apps import pictures as pictures_lib
from dsh_jax.data import feature_files, images


def query_of_file(
  index: index_lib.Index, query: str
) -> tuple[index_lib.Query, search_page.Hit]:
  """Return the query for an image file, for a search and for a page.

  Args:
    index: The index to search.
    query: The image file, or a file of one feature.

  Raises:
    UserError: It cannot be read, or the run cannot.
  """
  encoder = index_lib.load_encoder(index)
  if encoder.num_features is not None:
    found = feature_files.read_vectors(query, "--query", encoder.num_features)
    if len(found.ids) > 1:
      raise errors.UserError(
        f"--query={query} has {len(found.ids)} rows; give a file with one."
      )
    encoded = index_lib.encode(encoder, found.features)
    return encoded, search_page.Hit("", str(found.ids[0]))
  path = pathlib.Path(query).expanduser()
  try:
    resize = encoder.config.data.resize
    pixels = image_files.read(path, encoder.image_size, resize)
    with image_files.open_file(path) as file:
      shown = images.decode_whole(file, pictures_lib.LARGE)
  except images.UnreadableError as error:
    raise errors.UserError(f"Cannot read --query={query}: {error}.") from error
  source = search_page.data_uri(*image_files.thumbnail(shown))
  encoded = index_lib.encode(encoder, pixels)
  return encoded, search_page.Hit(source, path.name)


def query_of_item(
  index: index_lib.Index,
  name: str,
  pictures: pictures_lib.Pictures | None = None,
) -> tuple[index_lib.Query, search_page.Hit]:
  """Return the query for an item of the index, as `query_of_file`.

  Args:
    index: The index to search.
    name: The id of the item.
    pictures: The pictures of the index; None shows none.

  Raises:
    UserError: The index has no such item, or its picture cannot be read.
  """
  if (row := index.row_of(name)) is None:
    raise errors.UserError(
      f"--id={name} is not in the index (first id: {index.ids[0]})."
    )
  hit = search_page.Hit("", str(index.ids[row]), labels=index.labels_of(row))
  if pictures and index.has_pictures:
    picture = pictures.get(row, pictures_lib.LARGE)
    hit = dataclasses.replace(hit, source=search_page.data_uri(*picture))
  return index.query_of(row), hit


def write_page(
  path: str,
  index: index_lib.Index,
  pictures: pictures_lib.Pictures,
  found: Sequence[tuple[int, int]],
  query: search_page.Hit,
  num_tied: int = 0,
) -> None:
  """Write the result of a search as one self-contained HTML file.

  Args:
    path: The file.
    index: What was searched.
    pictures: Its pictures.
    found: (distance, row) of each result, nearest first.
    query: The query.
    num_tied: Items at the last distance that are not among the results.
  """

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
    place=search_page.Place(0, len(index), num_tied),
  )
  try:
    with files.replacing(pathlib.Path(path).expanduser()) as partial:
      partial.write_text(html, encoding="utf-8")
  except OSError as error:
    raise errors.UserError(
      f"Cannot write --html={path}: {error.strerror}."
    ) from error


def _table(index, found):
  """Return the lines of the results, header first."""
  kind = "image" if index.has_pictures else "item"
  names = [errors.printable(index.ids[row]) for _, row in found]
  width = max(map(len, [kind, *names]))
  labels = [", ".join(index.labels_of(row)) for _, row in found]
  head = "labels" if index.labels is not None else ""
  lines = [f"rank  distance  {kind:<{width}}  {head}"]
  for rank, (distance, _) in enumerate(found, 1):
    name = names[rank - 1].ljust(width)
    shown = errors.printable(labels[rank - 1])
    lines.append(f"{rank:>4}  {distance:>8}  {name}  {shown}")
  return [line.rstrip() for line in lines]


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
    query, hit = query_of_item(index, given.id, pictures)
  else:
    query, hit = query_of_file(index, given.query)
  found = index.nearest(query, given.top)
  num_tied = index.num_tied(query, found)
  if index.outputs is not None:
    print("Items at one distance are ordered by the outputs of the network.")
  for line in _table(index, found):
    print(line)
  if num_tied:
    print(f"{num_tied:,} more at distance {found[-1][0]}")
  if pictures:
    write_page(given.html, index, pictures, found, hit, num_tied)
    print(f"\nThe page is {errors.printable(given.html)}.")
