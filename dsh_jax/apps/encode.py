"""Encodes images or features with a trained run."""

import pathlib
import shlex
import sys
from collections.abc import Mapping, Sequence

import numpy as np

from dsh_jax import errors
from dsh_jax.apps import commands, image_files, image_lists
from dsh_jax.data import feature_files, features
from dsh_jax.retrieval import ties
from dsh_jax.runs import trained

_BATCH = 32  # Images that a device encodes at once.
_VECTORS = 4096


def encode_pictures(
  workdir: str, source: str, out: str, outputs: bool = False
) -> Mapping[str, str]:
  """Encode images, write an index, and return {unreadable path: reason}.

  Args:
    workdir: Folder of a finished run.
    source: See `image_lists.find`; for labels, `image_lists.find_labels`.
    out: The .npz file; see `image_files.computed`.
    outputs: Whether to store the real-valued outputs too.
  """
  run = trained.load_run(workdir)
  if run.num_features is not None:
    raise errors.UserError(
      f"--workdir={workdir} was trained on features; give --features=FILE in"
      " place of --images."
    )

  def encode(pixels):
    return _columns(*run.encode_with_outputs(pixels, _BATCH), outputs)

  with image_files.computed(
    source,
    out,
    run.image_size,
    run.config.data.resize,
    encode,
    "Encoding {}",
    f"{run.encoder_sha256} {outputs}",
  ) as found:
    labels, said = image_lists.find_labels(source, found.names, run.class_names)
    _write(
      out,
      run,
      workdir,
      found.arrays,
      None if labels is None else labels[found.readable],
      said,
      database_ids=np.array(found.names)[found.readable],
      root=np.asarray(str(found.root)),
      unreadable_ids=np.array(list(found.unreadable), str),
      unreadable_reasons=np.array(list(found.unreadable.values()), str),
    )
  return found.unreadable


def encode_vectors(
  workdir: str, source: str, out: str, outputs: bool = False
) -> None:
  """Encode features and write an index; arguments as for `encode_pictures`.

  Args:
    workdir: Folder of a finished run on features.
    source: See `feature_files.read_vectors`.
    out: The .npz file.
    outputs: Whether to store the real-valued outputs too.

  Raises:
    UserError: A path is wrong, the run is not a finished one or takes images,
      the features do not fit it, or the file cannot be written.
  """
  run = trained.load_run(workdir)
  if run.num_features is None:
    raise errors.UserError(
      f"--workdir={workdir} was trained on images; give --images instead of"
      " --features."
    )
  found = feature_files.read_vectors(source, "--features", run.num_features)
  labels, said = features.read_labels(source, "--features", run.class_names)
  encoded = run.encode_with_outputs(found.features, _VECTORS)
  columns = _columns(*encoded, outputs)
  _write(out, run, workdir, columns, labels, said, database_ids=found.ids)


def _columns(codes, outputs, keeps_outputs):
  kept = {"database_outputs": ties.round_outputs(outputs)}
  return {"database_codes": codes, **(kept if keeps_outputs else {})}


def _write(out, run, workdir, columns, labels, said, **more):
  if said:
    print(said, file=sys.stderr)
  image_files.write(
    out,
    num_bits=np.asarray(run.config.bits),
    **columns,
    **({} if labels is None else {"database_labels": labels}),
    class_names=np.array(run.class_names, str),
    workdir=np.asarray(str(pathlib.Path(workdir).expanduser().absolute())),
    encoder_sha256=np.asarray(run.encoder_sha256),
    **more,
  )


def main(argv: Sequence[str]) -> None:
  """Run the command."""
  given = commands.parse("encode", argv)
  if bool(given.images) == bool(given.features):
    raise errors.UserError("Give either --images=FOLDER or --features=FILE.")
  out = errors.printable(given.out)
  if given.features:
    encode_vectors(given.workdir, given.features, given.out, given.outputs)
  else:
    unreadable = encode_pictures(
      given.workdir, given.images, given.out, given.outputs
    )
    image_files.print_unreadable(unreadable, out)
  print(
    f"The codes are in {out}. Browse them with\n"
    f"  python -m dsh_jax serve --index={shlex.quote(out)}"
  )
