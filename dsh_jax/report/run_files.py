"""The files of a finished run, as the report reads them."""

import dataclasses
import functools
import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dsh_jax import errors, files
from dsh_jax.retrieval import evaluation, histogram, metrics, rankings
from dsh_jax.runs import workdir

# Curves hold the histogram of every query in memory; with more queries a mean
# would move by less than the width of its line.
MAX_QUERIES = 2000


@dataclasses.dataclass(frozen=True)
class RunFiles:
  """A finished run.

  Attributes:
    name: Name on the page, unique among its runs.
    folder: Its workdir.
    config: The contents of config.json, dotted field -> value.
    result: The contents of result.json.
    log: The lines of metrics.jsonl; empty if it is missing.
    query_codes: uint32 [Q,ceil(K/32)].
    query_labels: uint8 [Q,L].
    query_ids: str [Q].
    database_codes: uint32 [N,ceil(K/32)].
    database_labels: uint8 [N,L].
    database_ids: str [N].
    num_bits: K.
    class_names: Names of the L labels.
    data: The contents of data.json; {} if it is missing.
  """

  name: str
  folder: pathlib.Path
  config: Mapping[str, Any]
  result: Mapping[str, Any]
  log: Sequence[Mapping[str, float]]
  query_codes: np.ndarray
  query_labels: np.ndarray
  query_ids: np.ndarray
  database_codes: np.ndarray
  database_labels: np.ndarray
  database_ids: np.ndarray
  num_bits: int
  class_names: tuple[str, ...]
  data: Mapping[str, Any] = dataclasses.field(default_factory=dict)

  @functools.cached_property
  def sample(self) -> np.ndarray:
    """Rows of the queries of curves, int64 [<= MAX_QUERIES], rising."""
    num_queries = len(self.query_codes)
    count = min(num_queries, MAX_QUERIES)
    return np.arange(count) * num_queries // count

  @functools.cached_property
  def histogram(self) -> np.ndarray:
    """The joint histogram of `sample`, int64 [<= MAX_QUERIES,K+1,S+1]."""
    return histogram.joint_histogram(
      self.query_codes[self.sample],
      self.database_codes,
      self.query_labels[self.sample],
      self.database_labels,
      self.num_bits,
    )

  @functools.cached_property
  def has_relevant(self) -> np.ndarray:
    """Whether each query of `sample` has a relevant item, bool."""
    return ~metrics.without_relevant(self.histogram)

  @functools.cached_property
  def per_query(self) -> Mapping[str, np.ndarray]:
    """Metric -> score of each query of `sample`, float64."""
    ranking = rankings.read(self.histogram)
    normalizer = self.config["eval.normalizer"]
    return {
      name: evaluation.per_query(ranking, name, normalizer=normalizer)
      for name in self.result["metrics"]
    }

  def averaged(self, name: str) -> np.ndarray:
    """Return the scores that enter the mean of a metric, float64."""
    scores = self.per_query[name]
    return (
      scores[self.has_relevant] if self.config["eval.drop_empty"] else scores
    )

  def series(self, name: str) -> tuple[list[float], list[float]]:
    """Return epochs and values of a logged scalar, such as "train/loss"."""
    lines = [line for line in self.log if name in line]
    return [line["epoch"] for line in lines], [line[name] for line in lines]


def read(directory: str, name: str = "") -> RunFiles:
  """Read the finished run in a folder; `name` defaults to the folder name."""
  folder = pathlib.Path(directory).expanduser()
  run = workdir.Workdir(str(folder))
  config = run.read_json("config.json")
  result = run.read_json("result.json")
  arrays = run.read_arrays("codes.npz")
  for file, content in (
    ("config.json", config),
    ("result.json", result),
    ("codes.npz", arrays),
  ):
    if content is None:
      raise errors.UserError(
        f"--workdir={directory} does not hold a finished run: {folder / file}"
        " is missing. Give the folder of a finished run, or run its command"
        " again to finish it."
      )
  run.check_files(result, "config.json", "codes.npz", "metrics.jsonl")
  try:
    return RunFiles(
      name=name or folder.resolve().name,
      folder=folder,
      config=config,
      result=result,
      log=_read_log(folder / "metrics.jsonl"),
      query_codes=arrays["query_codes"],
      query_labels=arrays["query_labels"],
      query_ids=arrays["query_ids"],
      database_codes=arrays["database_codes"],
      database_labels=arrays["database_labels"],
      database_ids=arrays["database_ids"],
      num_bits=int(arrays["num_bits"]),
      class_names=tuple(map(str, arrays["class_names"])),
      data=run.read_json("data.json") or {},
    )
  except (KeyError, TypeError, ValueError) as error:
    raise errors.UserError(
      f"{folder / 'codes.npz'} is not the file of a run: {error}. Restore it"
      " from a copy, or give another --workdir."
    ) from error


def read_all(directories: Sequence[str]) -> list[RunFiles]:
  """Read runs, each once; name them by the shortest unique path ends."""
  unique = {pathlib.Path(d).expanduser().resolve(): d for d in directories}
  runs = [read(directory) for directory in unique.values()]
  parts = [folder.parts for folder in unique]
  length = 1
  while len({part[-length:] for part in parts}) < len(runs):
    length += 1
  return [
    dataclasses.replace(run, name="/".join(part[-length:]))
    for run, part in zip(runs, parts, strict=True)
  ]


def _read_log(path: pathlib.Path) -> list[dict[str, float]]:
  """Return the lines of a log, [] if the file is missing."""
  try:
    content = files.read_bytes(path)
  except FileNotFoundError:
    return []
  except OSError as error:
    raise errors.UserError(
      f"Cannot read {path}: {errors.describe(error)}. Restore it, or give"
      " another --workdir."
    ) from error
  lines = []
  for line in content.splitlines():
    try:
      lines.append(json.loads(line))
    except ValueError:
      break  # A killed process can leave an incomplete last line.
  return lines
