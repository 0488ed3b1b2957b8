"""Scores of a finished run, from its codes."""

import dataclasses
import math
import pathlib
import zipfile
from typing import Any

import numpy as np

from benchmarks.tables import cells, references, runner
from dsh_jax import errors
from dsh_jax.retrieval import evaluation, histogram

_TIES = ("expected", "optimistic", "pessimistic", "chance")
_ARRAYS = (
  "query_codes",
  "database_codes",
  "query_labels",
  "database_labels",
  "query_ids",
  "num_bits",
)


@dataclasses.dataclass(frozen=True)
class Record:
  """A finished run.

  Attributes:
    result: Its result.json.
    scores: Metric -> {"expected", "optimistic", "pessimistic", "chance"}; nan
      for a metric of codes without codes.
    per_query: Metric -> float64 [Q], ties in expectation; {} for a ranking
      that has no codes.
    query_ids: str [Q]; None for a ranking that has no codes.
    num_labels: int64 [Q], labels of each query; None likewise.
  """

  result: dict[str, Any]
  scores: dict[str, dict[str, float]]
  per_query: dict[str, np.ndarray]
  query_ids: np.ndarray | None
  num_labels: np.ndarray | None


def read(folder: pathlib.Path, metrics: tuple[str, ...]) -> Record:
  """Score the codes of a run; also by metrics that it did not report.

  Args:
    folder: The run's, with result.json and, unless it ranks without codes,
      codes.npz.
    metrics: Names of metrics.

  Returns:
    The record.

  Raises:
    UserError: codes.npz cannot be read.
  """
  result = runner.read_json(folder / "result.json")
  path = folder / "codes.npz"
  if not path.exists():
    nothing = dict.fromkeys(_TIES, math.nan)
    scores = {name: result["metrics"].get(name, nothing) for name in metrics}
    return Record(result, scores, {}, None, None)
  options = runner.read_json(folder / "config.json")
  try:
    with open(path, "rb") as file, np.load(file, allow_pickle=False) as npz:
      arrays = {name: npz[name] for name in _ARRAYS}
  except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
    raise errors.UserError(
      f"{path} cannot be read ({error}). Remove its folder to run it again."
    ) from None
  counts = histogram.joint_histogram(
    arrays["query_codes"],
    arrays["database_codes"],
    arrays["query_labels"],
    arrays["database_labels"],
    int(arrays["num_bits"]),
  )
  normalizer = options.get("eval.normalizer", "retrieved")
  per_query = evaluation.score(counts, metrics, normalizer)
  kept = np.ones(len(counts), bool)
  if options.get("eval.drop_empty", False):
    kept = counts[:, :, 1:].any(axis=(1, 2))
  return Record(
    result=result,
    scores={
      name: {ties: float(s[kept].mean()) for ties, s in by_ties.items()}
      for name, by_ties in per_query.items()
    },
    per_query={name: s["expected"][kept] for name, s in per_query.items()},
    query_ids=arrays["query_ids"][kept],
    num_labels=arrays["query_labels"][kept].sum(axis=1, dtype=np.int64),
  )


def references_done(
  table: cells.Table, workdir: pathlib.Path
) -> list[tuple[int, str, pathlib.Path]]:
  """Return (bits, method, folder) of the references that are done."""
  return [
    (bits, method, folder)
    for bits, method, folder in references.wanted(table, workdir)
    if (folder / "result.json").exists()
  ]
