"""Encodes a folder of images with a trained run.

  python -m dsh_jax encode --workdir=RUN --images=FOLDER --out=codes.npz

After an interruption, the same command resumes. Unreadable images are listed
and skipped. Search the result with python -m dsh_jax search or
python -m dsh_jax serve.
"""

import hashlib
import io
import json
import os
import pathlib
import shutil
import sys
from collections.abc import Iterator, Sequence
from concurrent import futures

import numpy as np
from absl import flags

from dsh_jax import errors, files, parallel
from dsh_jax.apps import command, image_files
from dsh_jax.data import images, progress

_PART = 256  # Images per part; a killed command loses at most one part.
_BATCH = 32
_NAMED = 10  # Unreadable images that are printed.


def encode_pictures(workdir: str, source: str, out: str) -> dict[str, str]:
  """Encode images, write an index, and return {unreadable path: reason}.

  Args:
    workdir: Folder of a finished run.
    source: See `image_files.find`.
    out: The .npz file. Until it is complete, its parts are in a folder beside
      it, from which a later call resumes.
  """
  path = pathlib.Path(out).expanduser()
  if path.suffix != ".npz" or path.is_dir():
    raise errors.UserError(f"--out={out} must be a file that ends in .npz.")
  root, names = image_files.find(source)
  encoder = image_files.RunEncoder(workdir, min(_BATCH, len(names)))
  parts = path.with_name(f"{path.name}.parts")
  try:
    path.parent.mkdir(parents=True, exist_ok=True)
    _claim(parts, _fingerprint(workdir, root, names))
    _write_parts(parts, encoder, root, names)
    found = _read_parts(parts)
    problems = dict(zip(names, found["problems"].tolist(), strict=True))
    unreadable = {name: why for name, why in problems.items() if why}
    if len(unreadable) == len(names):
      name, why = next(iter(unreadable.items()))
      shutil.rmtree(parts)
      raise errors.UserError(
        f"None of the {len(names)} images of --images={source} can be read;"
        f" the first is {name}: {why}."
      )
    _write(
      path,
      num_bits=np.asarray(encoder.num_bits),
      database_codes=found["codes"],
      database_ids=np.array([n for n in names if n not in unreadable]),
      root=np.asarray(str(root)),
      workdir=np.asarray(str(pathlib.Path(workdir).expanduser().absolute())),
      unreadable_ids=np.array(list(unreadable), str),
      unreadable_reasons=np.array(list(unreadable.values()), str),
    )
    shutil.rmtree(parts)
  except OSError as error:
    raise errors.UserError(
      f"Cannot write --out={out}: {error.strerror}. Give a file in a folder"
      " that you may write to."
    ) from error
  return unreadable


def _fingerprint(workdir, root, names) -> str:
  """Return a hash of the run, the images and their sizes and times."""
  digest = hashlib.sha256(
    pathlib.Path(workdir).expanduser().joinpath("result.json").read_bytes()
  )
  digest.update(json.dumps([str(root), names]).encode())
  for name in names:
    try:
      status = os.stat(root / name)
      digest.update(f"{status.st_size} {status.st_mtime_ns}\n".encode())
    except (OSError, ValueError):
      digest.update(b"absent\n")
  return digest.hexdigest()


def _claim(parts: pathlib.Path, fingerprint: str) -> None:
  """Create the folder of parts, without parts of other input."""
  mark = parts / "fingerprint"
  if parts.exists() and (not mark.exists() or mark.read_text() != fingerprint):
    shutil.rmtree(parts)
  parts.mkdir(exist_ok=True)
  mark.write_text(fingerprint)


def _part_path(parts: pathlib.Path, number: int) -> pathlib.Path:
  return parts / f"{number:08d}.npz"


def _write_parts(parts, encoder, root, names) -> None:
  total = len(names)
  chunks = [names[first : first + _PART] for first in range(0, total, _PART)]
  missing = [n for n in range(len(chunks)) if not _part_path(parts, n).exists()]
  done = total - sum(len(chunks[number]) for number in missing)
  with progress.bar(f"Encoding {total:,} images", total) as update:
    if done:
      update(done)
    wanted = [chunks[number] for number in missing]
    for number, decoded in zip(
      missing, _decode(wanted, encoder, root), strict=True
    ):
      good = [pixels for pixels, problem in decoded if not problem]
      empty = np.zeros((0, -(-encoder.num_bits // 32)), np.uint32)
      _write(
        _part_path(parts, number),
        codes=encoder(good) if good else empty,
        problems=np.array([problem for _, problem in decoded], str),
      )
      update(len(decoded))


def _decode(chunks, encoder, root) -> Iterator[list[tuple]]:
  """Yield (pixels, problem) of the images of each chunk, one chunk ahead."""

  def read(name):
    try:
      return image_files.read(root / name, encoder.size, encoder.resize), ""
    except images.UnreadableError as error:
      return None, str(error) or "unreadable"

  with futures.ThreadPoolExecutor(parallel.num_cores()) as pool:
    waiting = []
    for chunk in chunks:
      waiting.append([pool.submit(read, name) for name in chunk])
      if len(waiting) > 1:
        yield [task.result() for task in waiting.pop(0)]
    for tasks in waiting:
      yield [task.result() for task in tasks]


def _read_parts(parts: pathlib.Path) -> dict[str, np.ndarray]:
  columns: dict[str, list] = {"codes": [], "problems": []}
  for path in sorted(parts.glob("*.npz")):
    with np.load(path, allow_pickle=False) as saved:
      for name, column in columns.items():
        column.append(saved[name])
  return {name: np.concatenate(column) for name, column in columns.items()}


def _write(path: pathlib.Path, **arrays: np.ndarray) -> None:
  """Write an .npz file atomically."""
  buffer = io.BytesIO()
  np.savez(buffer, **arrays)
  with files.replacing(path) as partial:
    partial.write_bytes(buffer.getvalue())


def _define_flags(values: flags.FlagValues) -> None:
  def text(name, meaning):
    flags.DEFINE_string(name, None, meaning, required=True, flag_values=values)

  text("workdir", "Folder of a finished run.")
  text(
    "images",
    "A folder of images, a text file with one path per line, or a .csv file"
    " with paths in its first column.",
  )
  text("out", "The index to write, an .npz file.")


def main(argv: Sequence[str]) -> None:
  """Run the command."""
  given = command.parse(argv, _define_flags, __doc__)
  unreadable = encode_pictures(given.workdir, given.images, given.out)
  for name, why in list(unreadable.items())[:_NAMED]:
    print(f"Left out {name}: {why}", file=sys.stderr)
  if len(unreadable) > _NAMED:
    print(
      f"Left out {len(unreadable) - _NAMED} more; all are in unreadable_ids of"
      f" {given.out}.",
      file=sys.stderr,
    )
  print(
    f"The codes are in {given.out}. Browse them with\n"
    f"  python -m dsh_jax serve --index={given.out}"
  )


def run() -> None:
  """Run the command and exit."""
  command.run(main)


if __name__ == "__main__":
  run()
