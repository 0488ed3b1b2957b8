"""The contents of result.json."""

import importlib.metadata
import platform
from collections.abc import Mapping
from typing import Any

import jax
import ml_collections

from dsh_jax import __version__, data
from dsh_jax.runs import stored_images

LIBRARIES = ("jax", "jaxlib", "flax", "optax", "numpy")


def create_result(
  config: ml_collections.ConfigDict,
  splits: data.Splits,
  metadata: Mapping[str, Any],
  report: Mapping[str, Any],
) -> dict[str, Any]:
  """Return the contents of result.json.

  Args:
    config: The configuration.
    splits: The images, or features.
    metadata: Of the last checkpoint.
    report: From `scoring.Scorer.test`.
  """
  return {
    "method": config.method,
    "bits": config.bits,
    "backbone": config.model.backbone,
    "input_shape": list(splits.train.images.shape[1:]),
    "seed": config.seed,
    "dataset": config.data.name,
    "protocol": splits.protocol,
    "class_names": list(splits.class_names),
    "split_sha256": dict(splits.sha256),
    "train_in_database": splits.train_in_database,
    "data_notes": dict(splits.notes),
    "folders": stored_images.folders(config, splits),
    "select": config.eval.select,
    "selected_step": metadata["selected_step"],
    "selected_epoch": metadata["selected_epoch"],
    "num_skipped_steps": metadata["num_skipped_steps"],
    "metrics": report["metrics"],
    "validation": metadata["validation"],
    "diagnostics": {
      name.removeprefix("codes/"): value
      for name, value in metadata["diagnostics"].items()
    },
    "real_valued": report["real_valued"],
    "counts": report["counts"],
    "seconds": {
      "training": metadata["training_secs"],
      "encoding": report["encoding_secs"],
      "evaluation": report["evaluation_secs"],
    },
    "images_per_sec": metadata["perf"]["images_per_sec"] or 0.0,
    "perf": metadata["perf"],
    "device": f"{jax.device_count()} x {jax.devices()[0].device_kind}",
    "versions": versions(),
  }


def versions() -> dict[str, str]:
  """Return the version of Python, of this package and of its libraries."""
  return {
    "python": platform.python_version(),
    "dsh_jax": __version__,
    **{name: importlib.metadata.version(name) for name in LIBRARIES},
  }
