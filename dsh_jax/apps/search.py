"""Finds the images nearest to an image.

  python -m dsh_jax search --index=codes.npz --query=photo.jpg --top=20

The index is codes.npz of a run, or the output of python -m dsh_jax encode.
"""

import pathlib
from collections.abc import Sequence

from absl import flags

from dsh_jax import errors
from dsh_jax.apps import command, image_files, search_page
from dsh_jax.apps import index as index_lib
from dsh_jax.data import images


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
  path = pathlib.Path(query).expanduser()
  try:
    pixels = image_files.read(path, encoder.size, encoder.resize)
  except images.UnreadableError as error:
    raise errors.UserError(f"Cannot read --query={query}: {error}.") from error
  shown = search_page.data_uri(*image_files.thumbnail(pixels))
  found = index.nearest(encoder([pixels])[0], top)
  return found, search_page.Hit(shown, path.name)


def write_page(
  path: str,
  index: index_lib.Index,
  found: Sequence[tuple[int, int]],
  query: search_page.Hit,
) -> None:
  """Write the result of `nearest` as one self-contained HTML file."""
  hits = [
    search_page.Hit(
      source=search_page.data_uri(*index.picture(row)),
      id=str(index.ids[row]),
      distance=distance,
    )
    for distance, row in found
  ]
  html = search_page.render(
    num_bits=index.num_bits, num_items=len(index), hits=hits, query=query
  )
  try:
    pathlib.Path(path).expanduser().write_text(html, encoding="utf-8")
  except OSError as error:
    raise errors.UserError(
      f"Cannot write --html={path}: {error.strerror}."
    ) from error


def _define_flags(values: flags.FlagValues) -> None:
  def text(name, default, meaning, **more):
    flags.DEFINE_string(name, default, meaning, flag_values=values, **more)

  text("index", None, "The codes.npz to search.", required=True)
  text("query", None, "An image file to search for.", required=True)
  flags.DEFINE_integer(
    "top", 20, "Number of results.", lower_bound=1, flag_values=values
  )
  text("html", "", "Also write a page with the images to this file.")
  text("workdir", "", "The run that encoded the index, if it has been moved.")


def main(argv: Sequence[str]) -> None:
  """Run the command."""
  given = command.parse(argv, _define_flags, __doc__)
  index = index_lib.load(given.index, given.workdir)
  found, query = nearest(index, given.query, given.top)
  print("rank  distance  image")
  for rank, (distance, row) in enumerate(found, 1):
    print(f"{rank:>4}  {distance:>8}  {index.ids[row]}")
  if given.html:
    write_page(given.html, index, found, query)
    print(f"\nThe page is {given.html}.")


def run() -> None:
  """Run the command and exit."""
  command.run(main)


if __name__ == "__main__":
  run()
