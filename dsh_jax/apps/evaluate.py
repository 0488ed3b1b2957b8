"""Scores codes from any program."""

import dataclasses
import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dsh_jax import errors, files
from dsh_jax.apps import command, commands
from dsh_jax.retrieval import (
  codes,
  conventions,
  evaluation,
  metrics,
  real_valued,
  ties,
)
from dsh_jax.runs import summary


@dataclasses.dataclass(frozen=True)
class Items:
  """Codes and labels of queries or of a database.

  Attributes:
    packed: uint32 [N, ceil(K/32)].
    labels: [N, L] of 0 and 1, not yet checked.
    num_bits: K.
    encoder_sha256: Identifies the encoder, see `trained.TrainedRun`; "" if the
      file does not record it.
    outputs: Real-valued outputs, float [N,K]; None if the file lacks them.
  """

  packed: np.ndarray
  labels: np.ndarray
  num_bits: int
  encoder_sha256: str = ""
  outputs: np.ndarray | None = None


def load_items(
  codes_path: str,
  labels_path: str | None,
  kind: str,
  as_queries: bool = False,
) -> Items:
  """Read codes and labels.

  Args:
    codes_path: codes.npz of a run, or a .npy of codes [N, K] of -1 and 1 or 0
      and 1.
    labels_path: A .npy of labels [N, L] of 0 and 1. It is required for a .npy
      of codes and overrides the labels of a .npz.
    kind: "query" or "database".
    as_queries: Whether the items of an index without queries are the queries.
  """
  loaded = _load(codes_path, f"--{kind}_codes")
  if isinstance(loaded, Mapping):
    if (
      as_queries and "query_codes" not in loaded and "database_codes" in loaded
    ):
      kind = "database"  # An index that `encode` wrote.
    missing = {f"{kind}_codes", f"{kind}_labels", "num_bits"} - set(loaded)
    if missing:
      raise errors.UserError(
        f"{codes_path} lacks {', '.join(sorted(missing))}; give codes.npz of a"
        " run, an index of images with labels, or .npy files."
      )
    packed, num_bits = loaded[f"{kind}_codes"], loaded["num_bits"]
    if num_bits.shape or num_bits.dtype.kind not in "iu":
      raise errors.UserError(
        f"{codes_path} has num_bits of type {num_bits.dtype} and shape"
        f" {num_bits.shape}; give one whole number."
      )
    num_bits = int(num_bits)
    labels = loaded[f"{kind}_labels"]
    if labels_path is not None:
      labels = _load_array(labels_path, f"--{kind}_labels")
    packed = codes.check(packed, num_bits, f"{kind} codes")
    encoder = str(loaded.get("encoder_sha256", ""))
    outputs = loaded.get(f"{kind}_outputs")
    if outputs is not None:
      outputs = ties.check(outputs, len(packed), num_bits, codes_path)
    return Items(packed, labels, num_bits, encoder, outputs)
  if labels_path is None:
    raise errors.UserError(
      f"{codes_path} holds no labels; give --{kind}_labels=FILE.npy."
    )
  try:
    packed = codes.pack(loaded)
    known = np.isin(loaded, (-1, 0, 1))
  except errors.UserError as error:
    raise errors.UserError(f"{codes_path}: {error}") from error
  if not known.all():
    raise errors.UserError(
      f"{codes_path} holds {loaded[~known][0]!s}; give -1/+1 or 0/1 codes, one"
      " value per bit (binarise real values first: code > 0)."
    )
  labels = _load_array(labels_path, f"--{kind}_labels")
  return Items(packed, labels, loaded.shape[1])


def _load(path: str, flag: str) -> np.ndarray | dict[str, np.ndarray]:
  try:
    return files.read_arrays(pathlib.Path(path))
  except (OSError, ValueError) as error:
    raise errors.UserError(
      f"Cannot read {path}: {errors.describe(error)}. Change {flag}."
    ) from error


def _load_array(path: str, flag: str) -> np.ndarray:
  loaded = _load(path, flag)
  if not isinstance(loaded, np.ndarray):
    raise errors.UserError(f"{path} is a .npz; {flag} takes a .npy file.")
  return loaded


def evaluate_files(
  query_codes: str,
  database_codes: str | None = None,
  query_labels: str | None = None,
  database_labels: str | None = None,
  convention: str | None = None,
  names: list[str] | None = None,
  normalizer: str | None = None,
  drop_empty: bool | None = None,
) -> dict[str, Any]:
  """Evaluate codes in files; the arguments are the flags of the same names.

  Args:
    query_codes: See `load_items`.
    database_codes: The same; None is `query_codes`, a .npz that holds both.
    query_labels: See `load_items`.
    database_labels: The same.
    convention: A key of `conventions.CONVENTIONS`; None is this package's. The
      arguments below override it.
    names: Metric names, the flag --metrics.
    normalizer: "relevant" or "retrieved".
    drop_empty: Whether every mean leaves out queries without a relevant item.

  Returns:
    The result of `evaluation.evaluate_codes`, and "settings": num_bits,
    convention, normalizer, drop_empty. Where both files hold outputs also
    "ties_by_outputs": metric -> its mean with ties ordered by outputs.
  """
  if convention is not None and convention not in conventions.CONVENTIONS:
    raise errors.unknown(
      "convention", convention, conventions.CONVENTIONS, "--convention"
    )
  chosen = conventions.CONVENTIONS.get(convention) or conventions.Convention(
    metrics.DEFAULT_METRICS, "retrieved", False, False, ""
  )
  if normalizer is not None:
    command.check_choice("--normalizer", normalizer, metrics.NORMALIZERS)
  for name in names or ():
    evaluation.parse(name, "--metrics")
  names = tuple(names or chosen.names)
  normalizer = normalizer or chosen.normalizer
  drop_empty = chosen.drop_empty if drop_empty is None else drop_empty
  queries = load_items(
    query_codes,
    query_labels,
    "query",
    as_queries=database_codes not in (None, query_codes),
  )
  database = load_items(
    database_codes or query_codes, database_labels, "database"
  )
  if queries.num_bits != database.num_bits:
    raise errors.UserError(
      f"Query codes have {queries.num_bits} bits, database codes"
      f" {database.num_bits}; they must be equal."
    )
  encoders = {queries.encoder_sha256, database.encoder_sha256} - {""}
  if len(encoders) > 1:
    raise errors.UserError(
      f"{query_codes} and {database_codes} were encoded by different runs,"
      " whose codes cannot be compared. Give codes of one run as --query_codes"
      " and --database_codes."
    )
  result = evaluation.evaluate_codes(
    queries.packed,
    database.packed,
    queries.labels,
    database.labels,
    queries.num_bits,
    names,
    drop_empty,
    normalizer,
    drop_unretrieved=chosen.drop_unretrieved,
  )
  have_outputs = queries.outputs is not None and database.outputs is not None
  if have_outputs and not chosen.drop_unretrieved:
    by_outputs = real_valued.evaluate_cosine(
      *ties.join(
        queries.packed, queries.outputs, database.packed, database.outputs
      ),
      queries.labels,
      database.labels,
      names,
      drop_empty,
      normalizer,
    )["metrics"]
    result["ties_by_outputs"] = {
      name: means["expected"] for name, means in by_outputs.items()
    }
  result["settings"] = {
    "num_bits": queries.num_bits,
    "convention": convention,
    "normalizer": normalizer,
    "drop_empty": drop_empty,
  }
  return result


def table(result: Mapping[str, Any]) -> str:
  """Return the result of `evaluate_files` as text."""
  counts, settings = result["counts"], result["settings"]
  empty = "left out" if settings["drop_empty"] else "counted as 0"
  lines = [
    f"{settings['num_bits']} bits, {counts['queries']} queries,"
    f" {counts['database']} database items",
    f"{counts['queries_without_relevant']} queries without a relevant item"
    f" ({counts['queries_without_label']} of them without labels), {empty};"
    f" AP@k over items {settings['normalizer']}",
    "",
    *_scores(result["metrics"], result.get("ties_by_outputs")),
  ]
  return "\n".join(lines)


def _scores(found, by_outputs):
  head, *lines = summary.scores(found)
  if not by_outputs:
    return [head, *lines]
  return [f"{head}  ties by outputs"] + [
    f"{line}{by_outputs[name]:>17.4f}" if name in by_outputs else line
    for name, line in zip(found, lines, strict=True)
  ]


def _write(path: str, result: Mapping[str, Any]) -> None:
  """Write a JSON file atomically."""
  try:
    with files.replacing(pathlib.Path(path)) as partial:
      partial.write_text(json.dumps(result, indent=2) + "\n")
  except OSError as error:
    raise errors.UserError(
      f"Cannot write {path}: {errors.describe(error)}. Change --output."
    ) from error


def main(argv: Sequence[str]) -> None:
  """Run the command."""
  given = commands.parse("evaluate", argv)
  result = evaluate_files(
    given.query_codes,
    given.database_codes,
    given.query_labels,
    given.database_labels,
    given.convention,
    given.metrics,
    given.normalizer,
    given.drop_empty,
  )
  if given.output:
    _write(given.output, result)
  print(table(result))
