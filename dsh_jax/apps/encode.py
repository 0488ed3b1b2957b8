"""Encodes a folder of images with a trained run.

  python -m dsh_jax encode --workdir=RUN --images=FOLDER --out=codes.npz
  python -m dsh_jax encode --workdir=RUN --features=FILE --out=codes.npz

The second is for runs that were trained on features: FILE has `features` float
[N,F] and maybe `ids`, or is a .npy.

After an interruption, the same command resumes. Unreadable images are listed
and skipped. Labels of a CSV file, of a list, or of folders with the names of
classes are kept, so that python -m dsh_jax evaluate can score the result.
Search it with python -m dsh_jax search or python -m dsh_jax serve.
"""

import hashlib
import io
import json
import os
import pathlib
import shlex
import sys
from collections.abc import Iterator, Sequence
from concurrent import futures

import numpy as np
from absl import flags

from dsh_jax import errors, files, parallel
from dsh_jax.apps import command, image_files
from dsh_jax.apps import parts as parts_lib
from dsh_jax.data import feature_files, images, progress

_PART = 256  # Images per part; a killed command loses at most one part.
_BATCH = 32
_VECTORS = 4096  # In a batch.
_NAMED = 10  # Unreadable images that are printed.


def encode_pictures(workdir: str, source: str, out: str) -> dict[str, str]:
  """Encode images, write an index, and return {unreadable path: reason}.

  The labels of a CSV file, a list, or folders with the names of classes are
  kept in it.

  Args:
    workdir: Folder of a finished run.
    source: See `image_files.find`.
    out: The .npz file. Until it is complete, its parts are in a folder beside
      it, from which a later call resumes.
  """
  path = _check_out(out)
  root, names = image_files.find(source)
  encoder = image_files.RunEncoder(workdir, min(_BATCH, len(names)))
  if encoder.num_features is not None:
    raise errors.UserError(
      f"--workdir={workdir} was trained on features; give --features=FILE in"
      " place of --images."
    )
  chunks = [names[n : n + _PART] for n in range(0, len(names), _PART)]
  parts = parts_lib.Parts(
    path.with_name(f"{path.name}.parts"),
    [len(chunk) for chunk in chunks],
    -(-encoder.num_bits // 32),
  )
  try:
    path.parent.mkdir(parents=True, exist_ok=True)
    with parts.claimed(_fingerprint(workdir, root, names)):
      _write_parts(parts, encoder, root, chunks)
      codes, reasons = parts.read()
      problems = dict(zip(names, reasons, strict=True))
      unreadable = {
        errors.printable(name): why for name, why in problems.items() if why
      }
      if len(unreadable) < len(names):
        kept = [place for place, name in enumerate(names) if not problems[name]]
        labels, said = image_files.find_labels(
          source, names, encoder.class_names
        )
        if said:
          print(said, file=sys.stderr)
        _write(
          path,
          num_bits=np.asarray(encoder.num_bits),
          database_codes=codes,
          database_ids=np.array(names)[kept],
          **({} if labels is None else {"database_labels": labels[kept]}),
          class_names=np.array(encoder.class_names, str),
          root=np.asarray(str(root)),
          workdir=np.asarray(
            str(pathlib.Path(workdir).expanduser().absolute())
          ),
          encoder_sha256=np.asarray(encoder.sha256),
          unreadable_ids=np.array(list(unreadable), str),
          unreadable_reasons=np.array(list(unreadable.values()), str),
        )
      parts.remove()
  except OSError as error:
    raise _cannot_write(out, error) from error
  if len(unreadable) == len(names):
    name, why = next(iter(unreadable.items()))
    raise errors.UserError(
      f"None of the {len(names)} images of --images={source} can be read;"
      f" the first is {name}: {why}."
    )
  return unreadable


def encode_vectors(workdir: str, source: str, out: str) -> None:
  """Encode features and writes an index.

  Args:
    workdir: Folder of a finished run on features.
    source: See `feature_files.read_vectors`.
    out: The .npz file.

  Raises:
    UserError: A path is wrong, the run is not a finished one or takes images,
      the features do not fit it, or the file cannot be written.
  """
  path = _check_out(out)
  encoder = image_files.RunEncoder(workdir, _VECTORS)
  if encoder.num_features is None:
    raise errors.UserError(
      f"--workdir={workdir} was trained on images; give --images in place of"
      " --features."
    )
  found = feature_files.read_vectors(source, "--features", encoder.num_features)
  packed = encoder.encode(found.features)
  try:
    path.parent.mkdir(parents=True, exist_ok=True)
    _write(
      path,
      num_bits=np.asarray(encoder.num_bits),
      database_codes=packed,
      database_ids=found.ids,
      workdir=np.asarray(str(pathlib.Path(workdir).expanduser().absolute())),
      encoder_sha256=np.asarray(encoder.sha256),
    )
  except OSError as error:
    raise _cannot_write(out, error) from error


def _check_out(out: str) -> pathlib.Path:
  path = pathlib.Path(out).expanduser()
  if path.suffix != ".npz" or path.is_dir():
    raise errors.UserError(f"--out={out} must be a file that ends in .npz.")
  return path


def _cannot_write(out: str, error: OSError) -> errors.UserError:
  return errors.UserError(
    f"Cannot write --out={out}: {error.strerror}. Give a file in a folder"
    " that you may write to."
  )


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


def _write_parts(parts, encoder, root, chunks) -> None:
  missing = parts.missing()
  wanted = [chunks[number] for number in missing]
  total = sum(map(len, chunks))
  done = total - sum(map(len, wanted))
  with progress.bar(f"Encoding {total:,} images", total) as update:
    if done:
      update(done)
    for number, decoded in zip(
      missing, _decode(wanted, encoder, root), strict=True
    ):
      good = [pixels for pixels, problem in decoded if not problem]
      empty = np.zeros((0, -(-encoder.num_bits // 32)), np.uint32)
      problems = [problem for _, problem in decoded]
      parts.write(number, encoder(good) if good else empty, problems)
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


def _write(path: pathlib.Path, **arrays: np.ndarray) -> None:
  """Write an .npz file atomically."""
  buffer = io.BytesIO()
  np.savez(buffer, **arrays)
  with files.replacing(path) as partial:
    partial.write_bytes(buffer.getvalue())


def _define_flags(values: flags.FlagValues) -> None:
  def text(name, meaning, required=True):
    flags.DEFINE_string(
      name, None, meaning, required=required, flag_values=values
    )

  text("workdir", "Folder of a finished run.")
  text(
    "images",
    "A folder of images, a text file with one path per line, or a .csv file"
    " with paths in its first column.",
    required=False,
  )
  text(
    "features",
    "In place of --images: a .npy, .npz, .safetensors or .parquet file, for a"
    " run on features.",
    required=False,
  )
  text("out", "The index to write, an .npz file.")


def main(argv: Sequence[str]) -> None:
  """Run the command."""
  given = command.parse(argv, _define_flags, __doc__)
  if bool(given.images) == bool(given.features):
    raise errors.UserError("Give either --images=FOLDER or --features=FILE.")
  unreadable = {}
  if given.features:
    encode_vectors(given.workdir, given.features, given.out)
  else:
    unreadable = encode_pictures(given.workdir, given.images, given.out)
  for name, why in list(unreadable.items())[:_NAMED]:
    print(f"Left out {name}: {errors.printable(why)}", file=sys.stderr)
  if len(unreadable) > _NAMED:
    print(
      f"Left out {len(unreadable) - _NAMED} more; all are in unreadable_ids of"
      f" {given.out}.",
      file=sys.stderr,
    )
  out = errors.printable(given.out)
  print(
    f"The codes are in {out}. Browse them with\n"
    f"  python -m dsh_jax serve --index={shlex.quote(out)}"
  )


def run() -> None:
  """Run the command and exit."""
  command.run(main)


if __name__ == "__main__":
  run()
