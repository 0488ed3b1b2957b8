"""Finds the images nearest to an image.

  python -m dsh_jax search --index=codes.npz --query=photo.jpg --top=20
  python -m dsh_jax search --index=codes.npz --id=NAME

The index is codes.npz of a run, or the output of python -m dsh_jax encode. Of a
run on features, --query is a file of them with one row.
"""

import dataclasses
import pathlib
from collections.abc import Sequence

from absl import flags

from dsh_jax import errors, files
from dsh_jax.apps import command, image_files, search_page
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
    code = encoder.encode(found.features)[0]
    return index.nearest(code, top), search_page.Hit("", str(found.ids[0]))
  path = pathlib.Path(query).expanduser()
  try:
    pixels = image_files.read(path, encoder.size, encoder.resize)
    with image_files.open_file(path) as file:
      shown = images.decode_whole(file, pictures_lib.LARGE)
  except images.UnreadableError as error:
    raise errors.UserError(f"Cannot read --query={query}: {error}.") from error
  source = search_page.data_uri(*image_files.thumbnail(shown))
  found = index.nearest(encoder([pixels])[0], top)
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
  return index.nearest(index.codes[row], top), hit


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
    num_bits=index.num_bits,
    num_items=len(index),
    hits=[hit(distance, row) for distance, row in found],
    query=query,
    pictures=index.has_pictures,
    pixelated=not pictures.are_files,
  )
  try:
    with files.replacing(pathlib.Path(path).expanduser()) as partial:
      partial.write_text(html, encoding="utf-8")
  except OSError as error:
    raise errors.UserError(
      f"Cannot write --html={path}: {error.strerror}."
    ) from error


def _define_flags(values: flags.FlagValues) -> None:
  def text(name, default, meaning, **more):
    flags.DEFINE_string(name, default, meaning, flag_values=values, **more)

  text("index", None, "The codes.npz to search.", required=True)
  text("query", "", "An image file to search for, or a file of one feature.")
  text("id", "", "In place of --query: the id of an item of the index.")
  flags.DEFINE_integer(
    "top", 20, "Number of results.", lower_bound=1, flag_values=values
  )
  text("html", "", "Also write a page with the images to this file.")
  text("workdir", "", "The run that encoded the index, if it has been moved.")
  text("images", "", "The folder of the pictures, if they have been moved.")


def main(argv: Sequence[str]) -> None:
  """Run the command."""
  given = command.parse(argv, _define_flags, __doc__)
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
  print(f"rank  distance  {'image' if index.has_pictures else 'item'}")
  for rank, (distance, row) in enumerate(found, 1):
    print(f"{rank:>4}  {distance:>8}  {errors.printable(index.ids[row])}")
  if pictures:
    write_page(given.html, index, pictures, found, query)
    print(f"\nThe page is {errors.printable(given.html)}.")


def run() -> None:
  """Run the command and exit."""
  command.run(main)


if __name__ == "__main__":
  run()
