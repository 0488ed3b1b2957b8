"""Exports a trained run: an encoder that needs only JAX, and its codes."""

import contextlib
import json
import pathlib
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence

import jax
import jax.export

from dsh_jax import errors, files
from dsh_jax.apps import commands
from dsh_jax.apps import index as index_lib
from dsh_jax.data import images
from dsh_jax.retrieval import codes, faiss_index
from dsh_jax.runs import trained

PLATFORMS = ("cpu", "cuda", "tpu")
_SQL_ROWS = 1000  # Rows per INSERT.

_LOADER = '''\
"""Loads encoder.stablehlo of this folder; needs {needs}.

python load_encoder.py {example}

{about}
"""

import pathlib
import sys

import jax.export
import numpy as np

FOLDER = pathlib.Path(__file__).parent
PROGRAM = bytearray((FOLDER / "encoder.stablehlo").read_bytes())
# {items}, n free, to codes uint32 [n,words]: bit j of a code is
# bit j % 32 of word j // 32.
encode = jax.export.deserialize(PROGRAM).call
{more}'''
_OF_VECTORS = """
if __name__ == "__main__":
  for path in sys.argv[1:]:
    vectors = np.atleast_2d(np.load(path)).astype(np.float32)
    if vectors.shape[1:] != ({width},):
      sys.exit(f"{path} has shape {vectors.shape}; allowed: [n,{width}].")
    print(np.asarray(encode(vectors)))
"""
_OF_IMAGES = """

def encode_files(*paths):
  import runpy  # decode_image.py needs Pillow, pixels do not.

  decode = runpy.run_path(str(FOLDER / "decode_image.py"))["decode"]
  files = [pathlib.Path(path).read_bytes() for path in paths]
  pixels = [decode(file, {size}, "{resize}") for file in files]
  return np.asarray(encode(np.stack(pixels)))


if __name__ == "__main__":
  for path in sys.argv[1:]:
    print(path, *encode_files(path)[0])
"""


def export_encoder(run: trained.TrainedRun) -> bytes:
  """Return the encoder of a run as serialised StableHLO.

  `jax.export.deserialize` reads it: images uint8 [n,H,W,3], or features float32
  [n,F], -> packed codes uint32 [n,ceil(K/32)], n free, for every platform of
  `PLATFORMS`.
  """
  encode_step, weights = run.encode_step(), run.weights

  @jax.jit
  def encode(images):
    packed, _ = encode_step(weights, images)
    return packed

  (count,) = jax.export.symbolic_shape("n")
  shape, dtype = _input(run)
  exported = jax.export.export(encode, platforms=PLATFORMS)(
    jax.ShapeDtypeStruct((count, *shape), dtype)
  )
  return bytes(exported.serialize())


def _input(run: trained.TrainedRun) -> tuple[tuple[int, ...], str]:
  """Return shape and type of one item."""
  if run.num_features is not None:
    return (run.num_features,), "float32"
  return (run.image_size, run.image_size, 3), "uint8"


def _loader(run: trained.TrainedRun) -> str:
  if run.num_features is not None:
    texts = {
      "needs": "only jax",
      "example": "FILE.npy  prints the codes of features [n,F] or [F].",
      "about": "It includes all preprocessing of features.",
      "items": f"Features float32 [n,{run.num_features}]",
      "width": str(run.num_features),
    }
    return _fill(_LOADER.replace("{more}", _OF_VECTORS), texts)
  texts = {
    "needs": "jax, and Pillow for files",
    "example": "PHOTO.jpg ...  prints the code of each.",
    "about": f"Before the encoder, {_before(run)}. In it:\n{_inside(run)}.",
    "items": f"Images uint8 [n,{run.image_size},{run.image_size},3]",
    "size": str(run.image_size),
    "resize": run.config.data.resize,
  }
  return _fill(_LOADER.replace("{more}", _OF_IMAGES), texts)


def _fill(template, texts):
  for name, text in texts.items():
    template = template.replace(f"{{{name}}}", text)
  return template


def _before(run):
  return (
    "decode_image.py rotates a picture by its\nEXIF data, replaces transparency"
    f" by white, and resizes it to\n{run.image_size} pixels by the rule"
    f" {run.config.data.resize!r}"
  )


def _inside(run):
  data = run.config.data
  crop = data.crop_size or data.image_size
  return (
    f"the centre of {crop} pixels, / 255, minus {tuple(data.mean)},\nover"
    f" {tuple(data.std)}"
  )


def sql(index: index_lib.Index, table: str = "pictures") -> Iterator[str]:
  """Yield the lines of a script for PostgreSQL with pgvector 0.7 or newer.

  The name of the table is written unchanged; quote it if SQL requires that.
  """
  bits = index.num_bits
  yield "-- psql -v ON_ERROR_STOP=1 -f codes.sql DATABASE"
  yield "-- The ten nearest to an image of the table, by Hamming distance:"
  yield "--   SELECT p.id, p.code <~> q.code AS distance"
  yield f"--   FROM {table} p, (SELECT code FROM {table} WHERE id = '...') q"
  yield "--   ORDER BY distance, p.id LIMIT 10;"
  yield "-- Without pgvector, bit_count(p.code # q.code) is the same distance."
  yield "-- With many images an approximate index is faster; it serves"
  yield f"-- ORDER BY code <~> B'...'::bit({bits}) LIMIT 10:"
  yield f"--   CREATE INDEX ON {table} USING hnsw (code bit_hamming_ops);"
  yield "DO $$ BEGIN CREATE EXTENSION IF NOT EXISTS vector;"
  yield "EXCEPTION WHEN OTHERS THEN RAISE NOTICE"
  yield "  'without pgvector, which gives the operator <~>: %', SQLERRM;"
  yield "END $$;"
  yield "BEGIN;"
  yield f"CREATE TABLE {table}"
  yield f"  (id text PRIMARY KEY, code bit({bits}) NOT NULL);"
  # In every session, a backslash in a name is then a plain backslash.
  yield "SET LOCAL standard_conforming_strings = on;"
  for first in range(0, len(index), _SQL_ROWS):
    rows = slice(first, first + _SQL_ROWS)
    unpacked = codes.unpack(index.codes[rows], bits)
    yield f"INSERT INTO {table} (id, code) VALUES"
    yield ",\n".join(
      f"  ({_quote(name)}, B'{''.join('01'[bit] for bit in row)}')"
      for name, row in zip(index.ids[rows], unpacked.astype(int), strict=True)
    ) + ";"  # fmt: skip
  yield "COMMIT;"


def _quote(text: str) -> str:
  quoted = str(text).replace("'", "''").replace("\0", "")
  return f"'{quoted}'"


def write(workdir: str, out: str, index_path: str = "") -> list[str]:
  """Write all exports; return a line for each one left out.

  Args:
    workdir: Folder of a finished run.
    out: The folder to write to.
    index_path: Codes to export; "" is codes.npz of the run.
  """
  errors.check_utf8(out, "--out")
  run = trained.load_run(workdir)
  index_file = index_path or pathlib.Path(workdir).expanduser() / "codes.npz"
  index = index_lib.load(str(index_file), workdir)
  index_lib.check_encoder(index, run.encoder_sha256)
  left_out = []
  try:
    with _filled(pathlib.Path(out).expanduser()) as folder:
      folder.joinpath("encoder.stablehlo").write_bytes(export_encoder(run))
      folder.joinpath("load_encoder.py").write_text(_loader(run))
      if (
        run.num_features is None
      ):  # The file itself, so that they cannot differ.
        shutil.copyfile(images.__file__, folder / "decode_image.py")
      about = json.dumps(_about(run), indent=2)
      folder.joinpath("about.json").write_text(about + "\n")
      shutil.copyfile(index_file, folder / "codes.npz")
      with folder.joinpath("codes.sql").open("w", encoding="utf-8") as file:
        file.writelines(f"{line}\n" for line in sql(index))
      try:
        faiss_index.write_index(
          folder / "codes.faiss", index.codes, index.num_bits
        )
      except errors.UserError as error:
        left_out.append(f"codes.faiss: {error}")
  except OSError as error:
    raise errors.UserError(
      f"Cannot write to --out={out}: {error.strerror}. Give a folder that you"
      " may write to."
    ) from error
  return left_out


@contextlib.contextmanager
def _filled(folder: pathlib.Path) -> Iterator[pathlib.Path]:
  """Yield an empty folder; its files move to `folder` at the end, or none."""
  folder.parent.mkdir(parents=True, exist_ok=True)
  with tempfile.TemporaryDirectory(
    prefix=f"{folder.name}.", suffix=".partial", dir=folder.parent
  ) as name:
    partial = pathlib.Path(name)
    yield partial
    folder.mkdir(exist_ok=True)
    targets = {
      path: files.destination(folder / path.name)
      for path in sorted(partial.iterdir())
    }
    for path, target in targets.items():
      path.replace(target)


def _about(run: trained.TrainedRun) -> dict[str, object]:
  vectors = run.num_features is not None
  return {
    "bits": run.config.bits,
    "image_size": run.image_size,
    "num_features": run.num_features,
    "resize": run.config.data.resize,
    "before_the_encoder": None if vectors else " ".join(_before(run).split()),
    "in_the_encoder": None if vectors else " ".join(_inside(run).split()),
    "class_names": list(run.class_names),
    "method": run.config.method,
    "backbone": run.config.model.backbone,
    "platforms": list(PLATFORMS),
    "exported_with": {"jax": jax.__version__},
    "metrics": run.result["metrics"],
    "encoder_sha256": run.encoder_sha256,
  }


def main(argv: Sequence[str]) -> None:
  """Run the command."""
  given = commands.parse("export", argv)
  for reason in write(given.workdir, given.out, given.index):
    print(f"Left out {reason}", file=sys.stderr)
  print(f"The encoder and the codes are in {errors.printable(given.out)}.")
