"""Log lines about training steps, and the handling of non-finite steps."""

import ml_collections
import numpy as np

from dsh_jax import data, errors
from dsh_jax.data import batches
from dsh_jax.runs import logs, speed, step_metrics


class StepReport:
  """Logs the metrics of steps, and stops at a step that is not finite."""

  def __init__(
    self,
    config: ml_collections.ConfigDict,
    split: data.Split,
    metrics: step_metrics.StepMetrics,
    log: logs.Log,
    clock: speed.Speed,
  ):
    """Report nothing yet.

    Args:
      config: seed and train are read.
      split: The training items.
      metrics: Where metrics come from.
      log: Where they go.
      clock: Measures the steps.
    """
    self._config = config
    self._split = split
    self._metrics = metrics
    self._log = log
    self._clock = clock

  def write(self) -> None:
    """Log the metrics that `StepMetrics.prepare` has prepared.

    Raises:
      NonFiniteError: A step is not finite and config.train.on_nonfinite is
        "stop".
      StorageError: The log cannot be written.
    """
    train = self._config.train
    for step, metrics in self._metrics.read():
      is_finite, _ = metrics.pop("is_finite"), metrics.pop("num_skipped")
      rate = {"learning_rate": metrics.pop("learning_rate")}
      values = {f"train/{name}": value for name, value in metrics.items()}
      if not is_finite:
        message = self._describe(step, values)
        if train.on_nonfinite == "stop":
          raise errors.NonFiniteError(
            f"{message} The last checkpoint precedes it. Lower"
            " config.optimizer.learning_rate, or skip such steps with"
            ' config.train.on_nonfinite="skip".'
          )
        self._log.say(f"{message} It is skipped.")
      if (step + 1) % train.log_every_steps == 0:
        steps_per_epoch = len(self._split) // train.batch_size
        self._log.scalars(
          step + 1,
          (step + 1) / steps_per_epoch,
          values | rate | self._clock.scalars(step + 1),
        )

  def _describe(self, step, values):
    rows = batches.batch_indices(
      self._config.seed, step, len(self._split), self._config.train.batch_size
    )
    if all(np.isfinite(value) for value in values.values()):
      values = values | {"the running statistics of BatchNorm": np.inf}
    text = ", ".join(f"{name} {value:.6g}" for name, value in values.items())
    ids = ", ".join(map(str, self._split.ids[rows]))
    return f"Step {step + 1} is not finite: {text}. Its images: {ids}."
