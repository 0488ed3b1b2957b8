"""Scores of a network's weights: to choose an epoch, and to report it."""

import time
from collections.abc import Callable, Iterable
from typing import Any

import jax
import ml_collections
import numpy as np

from dsh_jax import data
from dsh_jax.retrieval import evaluation, metrics, strict, ties
from dsh_jax.runs import encoding

# Queries ranked by real-valued outputs; each sorts the database.
_REAL_QUERIES = 500


class Scorer:
  """Encodes queries and database, and compares their codes."""

  def __init__(
    self,
    config: ml_collections.ConfigDict,
    splits: data.Splits,
    encoder: encoding.BatchEncoder,
  ):
    """Keep what all scores share.

    Args:
      config: bits and eval are read.
      splits: Train, validation, query and database.
      encoder: Maps weights and images to packed codes of `config.bits`.
    """
    self._config = config
    self._splits = splits
    self._encoder = encoder

  def validate(
    self, weights: Any, check: Callable[[], None] = lambda: None
  ) -> dict[str, float]:
    """Score the queries that choose an epoch.

    Args:
      weights: (params, batch_stats), on devices.
      check: Called after each batch of images; may raise to break off.

    Returns:
      "validation/METRIC" -> score, or "test/METRIC" where test queries choose:
      the expected value over ties of the metric that chooses, then of map@all.
      {} without validation queries: the last epoch is selected.

    Raises:
      UserError: The metric is unknown.
      NonFiniteError: The network gives NaN.
    """
    splits = self._splits
    if self._config.eval.select == "test_best":
      name, queries, database = "test", splits.query, splits.database
    else:
      name, queries, database = "validation", splits.validation, splits.train
    if not len(queries):
      return {}
    names = dict.fromkeys((self._config.eval.select_metric, "map@all"))
    report = self._score(
      *(
        (self._encode(self._encoder, weights, split, check), split)
        for split in (queries, database)
      ),
      names=names,
    )
    return {
      f"{name}/{metric}": report["metrics"][metric]["expected"]
      for metric in names
    }

  def test(self, weights: Any) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Score the test queries, once.

    Args:
      weights: (params, batch_stats), on devices.

    Returns:
      What `evaluation.evaluate_codes` returns, with "real_valued" (see
      `compare_outputs`; None but on host 0), "encoding_secs" and
      "evaluation_secs", and the arrays of codes.npz: num_bits, class_names, and
      _codes uint32, _labels uint8, _ids and maybe _outputs float16 of query and
      database.

    Raises:
      UserError: A metric is unknown.
      NonFiniteError: The network gives NaN.
    """
    names = tuple(self._config.eval.metrics) or metrics.DEFAULT_METRICS
    started = time.monotonic()
    splits = self._splits.query, self._splits.database
    packed, outputs = zip(
      *(
        self._encode(self._encoder.with_outputs, weights, split)
        for split in splits
      ),
      strict=True,
    )
    encoded = list(zip(packed, splits, strict=True))
    encoded_at = time.monotonic()
    report = self._score(*encoded, names=names)
    report["encoding_secs"] = encoded_at - started
    report["evaluation_secs"] = time.monotonic() - encoded_at
    report["real_valued"] = None
    if jax.process_index() == 0:
      report["real_valued"] = compare_outputs(
        *outputs, *packed, *(split.labels for split in splits)
      )
    arrays = {
      "num_bits": np.asarray(self._config.bits),
      "class_names": np.asarray(self._splits.class_names),
    }
    for name, (words, split), real in zip(
      ("query", "database"), encoded, outputs, strict=True
    ):
      arrays[f"{name}_codes"] = words
      arrays[f"{name}_labels"] = split.labels
      arrays[f"{name}_ids"] = split.ids
      if self._config.eval.save_outputs:
        arrays[f"{name}_outputs"] = ties.round_outputs(real)
    return report, arrays

  def _encode(self, encode, weights, split, *check):
    return encode(weights, split.take, len(split), *check)

  def _score(self, encoded_queries, encoded_database, names: Iterable[str]):
    (query_codes, queries), (database_codes, database) = (
      encoded_queries,
      encoded_database,
    )
    return evaluation.evaluate_codes(
      query_codes,
      database_codes,
      queries.labels,
      database.labels,
      self._config.bits,
      names=tuple(names),
      drop_empty=self._config.eval.drop_empty,
      normalizer=self._config.eval.normalizer,
      over_hosts=True,
    )


def compare_outputs(
  query_outputs: np.ndarray,
  database_outputs: np.ndarray,
  query_codes: np.ndarray,
  database_codes: np.ndarray,
  query_labels: np.ndarray,
  database_labels: np.ndarray,
) -> dict[str, Any]:
  """Score the real-valued outputs and the codes.

  Args:
    query_outputs: Real-valued outputs, float32 [Q,K].
    database_outputs: float32 [N,K].
    query_codes: Packed, uint32 [Q,ceil(K/32)].
    database_codes: Packed, uint32 [N,ceil(K/32)].
    query_labels: [Q,L] of 0 and 1.
    database_labels: [N,L] of 0 and 1.

  Returns:
    "queries": number of evenly spaced queries, at most 500; "outputs" and
    "codes": metric of `strict.METRICS` -> its mean over these queries, of the
    ranking by the cosine of the outputs and by Hamming distance.
  """
  count = min(len(query_codes), _REAL_QUERIES)
  rows = np.arange(count) * len(query_codes) // count
  hashed = evaluation.evaluate_codes(
    query_codes[rows],
    database_codes,
    query_labels[rows],
    database_labels,
    query_outputs.shape[1],
    names=strict.METRICS,
  )["metrics"]
  return {
    "queries": count,
    "outputs": strict.evaluate_cosine(
      query_outputs[rows], database_outputs, query_labels[rows], database_labels
    ),
    "codes": {name: hashed[name]["expected"] for name in strict.METRICS},
  }
