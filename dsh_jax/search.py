"""Finds the pictures nearest to a picture.

  python -m dsh_jax.search --index=codes.npz --query=photo.jpg --top=20

The index is codes.npz of a run, or what python -m dsh_jax.encode wrote.
"""

import pathlib
from collections.abc import Sequence

from dsh_jax import command, errors, pictures, search_page
from dsh_jax import index as index_lib
from dsh_jax.data import images


def nearest(
  index: index_lib.Index, query: str, top: int
) -> tuple[list[tuple[int, int]], search_page.Hit]:
  """Encodes a picture file and finds its neighbours.

  Args:
    index: Where to look.
    query: The picture file.
    top: How many, at least 1.

  Returns:
    (distance, row) of each, nearest first, and the query for a page.

  Raises:
    UserError: The picture or the run of the index cannot be read, or the run
      has codes of another length.
  """
  encoder = index_lib.load_encoder(index)
  path = pathlib.Path(query).expanduser()
  try:
    pixels = pictures.read(path, encoder.size, encoder.resize)
  except images.UnreadableError as error:
    raise errors.UserError(f"Cannot read --query={query}: {error}.") from error
  shown = search_page.data_uri(*pictures.thumbnail(pixels))
  found = index.nearest(encoder([pixels])[0], top)
  return found, search_page.Hit(shown, path.name)


def write_page(
  path: str,
  index: index_lib.Index,
  found: Sequence[tuple[int, int]],
  query: search_page.Hit,
) -> None:
  """Writes the result as one HTML file that holds its pictures.

  Args:
    path: The file.
    index: Where was looked.
    found: From `nearest`.
    query: From `nearest`.

  Raises:
    UserError: A picture cannot be read, or the file cannot be written.
  """
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


def main(argv: Sequence[str]) -> None:
  """Runs what the flags say.

  Args:
    argv: The flags, without the name of the command.

  Raises:
    UserError: A flag is wrong, or as `nearest` and `write_page`.
  """
  parser = command.Parser("dsh_jax.search", __doc__)
  parser.add_argument(
    "--index", required=True, metavar="FILE", help="codes.npz to look in."
  )
  parser.add_argument(
    "--query", required=True, metavar="PICTURE", help="What to look for."
  )
  parser.add_argument("--top", type=int, default=20, help="How many; 20.")
  parser.add_argument(
    "--html", default="", metavar="FILE", help="Also write a page of pictures."
  )
  parser.add_argument(
    "--workdir",
    default="",
    metavar="RUN",
    help="The run that encoded the index, if it is not where it was.",
  )
  flags = parser.parse_args(argv)
  if flags.top < 1:
    raise errors.UserError(f"--top is {flags.top}; it must be 1 or more.")
  index = index_lib.load(flags.index, flags.workdir)
  found, query = nearest(index, flags.query, flags.top)
  print("rank  distance  picture")
  for rank, (distance, row) in enumerate(found, 1):
    print(f"{rank:>4}  {distance:>8}  {index.ids[row]}")
  if flags.html:
    write_page(flags.html, index, found, query)
    print(f"\nThe page is {flags.html}.")


def run() -> None:
  """The console script."""
  command.run(main)


if __name__ == "__main__":
  run()
