"""Time and memory of every loss, alone and with its gradient.

python -m benchmarks.speed.loss_speed

Writes benchmarks/results/loss_speed.json and loss_speed.md (elsewhere with
--out=DIR). The codes are random, and the labels resemble NUS-WIDE's: 21
classes, 2.4 labels per item.
"""

import json
import pathlib
import time

import jax
import numpy as np
from absl import app, flags

from benchmarks import hardware
from dsh_jax import losses

_OUT = flags.DEFINE_string(
  "out",
  str(pathlib.Path(__file__).parents[1] / "results"),
  "Folder of the results.",
)
_BATCH_SIZES = flags.DEFINE_list("batch_sizes", ["64", "256", "1024"], "B.")
_LOSSES = flags.DEFINE_list("losses", [], "Names; all by default.")

NUM_BITS = 64
NUM_CLASSES = 21
_LABELS_PER_ITEM = 2.4
# Minimum runs and seconds of a measurement.
_MIN_RUNS = 3
_MIN_SECS = 0.3


def make_batch(batch_size: int, num_outputs: int) -> tuple:
  """Make random logits float32 [B,num_outputs] and labels uint8 [B,21]."""
  rng = np.random.default_rng(0)
  share = _LABELS_PER_ITEM / NUM_CLASSES
  labels = (rng.random((batch_size, NUM_CLASSES)) < share).astype(np.uint8)
  labels[labels.sum(axis=1) == 0, 0] = 1
  logits = rng.normal(size=(batch_size, num_outputs)).astype(np.float32)
  return jax.device_put(logits), jax.device_put(labels)


def measure(name: str, batch_size: int) -> dict[str, float]:
  """Time a loss as a training step calls it, activation included.

  Args:
    name: A key of `losses.LOSSES`.
    batch_size: B.

  Returns:
    value_ms and gradient_ms (value and gradient): the fastest of the runs,
    least disturbed by other work on the machine; peak_mb: memory that the
    compiler reserves for value and gradient, arguments and results included;
    compile_secs.
  """
  loss = losses.make_loss(name, num_bits=NUM_BITS, num_classes=NUM_CLASSES)
  params = loss.init(jax.random.key(0))
  logits, labels = make_batch(batch_size, loss.num_outputs)

  def value(params, logits, labels):
    return loss(params, loss.activation(logits, 0), labels, step=0)[0]

  result = {}
  for what, function in (
    ("value", value),
    ("gradient", jax.value_and_grad(value, argnums=(0, 1))),
  ):
    start = time.perf_counter()
    compiled = jax.jit(function).lower(params, logits, labels).compile()
    result["compile_secs"] = time.perf_counter() - start
    jax.block_until_ready(compiled(params, logits, labels))
    runs = []
    while len(runs) < _MIN_RUNS or sum(runs) < _MIN_SECS:
      start = time.perf_counter()
      jax.block_until_ready(compiled(params, logits, labels))
      runs.append(time.perf_counter() - start)
    result[f"{what}_ms"] = 1e3 * min(runs)
  memory = compiled.memory_analysis()
  result["peak_mb"] = 1e-6 * (
    memory.temp_size_in_bytes
    + memory.argument_size_in_bytes
    + memory.output_size_in_bytes
  )
  return result


def render(results: dict) -> str:
  """Return the results as a Markdown table."""
  sizes = results["batch_sizes"]
  heads = [f"B={size}: value ms | + gradient ms | peak MB" for size in sizes]
  about = results["about"]
  lines = [
    "# Time and memory of the losses",
    "",
    f"K = {NUM_BITS}, L = {NUM_CLASSES}, {_LABELS_PER_ITEM} labels an item."
    " Fastest of several runs; peak memory of value and gradient as set aside"
    " by the compiler, arguments and results included.",
    "",
    f"{about['hardware']} ({about['platform']}); {about['versions']};"
    f" commit {about['commit']}; {about['date']}; load average of the machine"
    f" at the start {about['load_average']}.",
    "",
    f"| loss | {' | '.join(heads)} |",
    "|---" * (1 + 3 * len(sizes)) + "|",
  ]
  for name, by_size in results["losses"].items():
    cells = [
      f"{by_size[str(size)][field]:.{digits}f}"
      for size in sizes
      for field, digits in (("value_ms", 2), ("gradient_ms", 2), ("peak_mb", 1))
    ]
    lines.append(f"| {name} | {' | '.join(cells)} |")
  return "\n".join(lines) + "\n"


def main(argv: list[str]) -> None:
  """Measure what the flags say, printing as it goes."""
  del argv
  sizes = [int(size) for size in _BATCH_SIZES.value]
  results = {"about": hardware.about(), "batch_sizes": sizes, "losses": {}}
  for name in _LOSSES.value or losses.LOSSES:
    results["losses"][name] = {}
    for size in sizes:
      cell = measure(name, size)
      results["losses"][name][str(size)] = cell
      print(
        f"{name:22s} B={size:<5d} {cell['value_ms']:9.2f} ms"
        f" {cell['gradient_ms']:9.2f} ms {cell['peak_mb']:8.1f} MB",
        flush=True,
      )
  folder = pathlib.Path(_OUT.value)
  folder.mkdir(parents=True, exist_ok=True)
  text = json.dumps(results, indent=2) + "\n"
  (folder / "loss_speed.json").write_text(text)
  (folder / "loss_speed.md").write_text(render(results))


if __name__ == "__main__":
  app.run(main)
