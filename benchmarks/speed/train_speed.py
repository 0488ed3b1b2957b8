"""Speed of training: images/s, and the time of the parts of a step.

python -m benchmarks.speed.train_speed --backbones=resnet18 --image_sizes=224 \\
  --batch_sizes=32 --torch_python=TORCH_ENV/bin/python

Every combination of the lists is a row. Random images are on the device, are
copied from the host in every step, or are read from a file as in a run. With
--torch_python, an interpreter with PyTorch (possibly this one), steps of the
same network and loss in PyTorch (channels-last; autocast for bfloat16;
torch.compile on a GPU) take turns with ours, and the ratio is printed. Rows
are added to train_speed.jsonl in the folder --out, and train_speed.md is
written from all of them; --profile=DIR writes a trace of three steps.
"""

import itertools
import json
import os
import pathlib
import statistics
import subprocess
from collections.abc import Sequence

import jax
from absl import flags

from benchmarks import hardware
from benchmarks.speed import matrix_product, train_cell, train_table
from dsh_jax import errors, parallel
from dsh_jax.apps import command

_ROOT = pathlib.Path(__file__).parents[2]
_WARM_UP = 2


class Torch:
  """A process that takes PyTorch steps on demand."""

  def __init__(self, python: str, cell: train_cell.TimedStep):
    """Start it and wait until it is warm.

    Raises:
      UserError: It cannot be started.
    """
    asked = {
      "backbone": cell.backbone,
      "image_size": cell.image_size,
      "batch_size": cell.batch_size,
      "dtype": cell.dtype,
      "num_bits": cell.num_bits,
      "num_classes": cell.num_classes,
      "compile": jax.default_backend() == "gpu",
    }
    script = pathlib.Path(__file__).with_name("torch_train.py")
    try:
      self._process = subprocess.Popen(
        [python, str(script), json.dumps(asked)],
        env=os.environ | {"PYTHONPATH": str(_ROOT / "tests")},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
      )
      self.about = json.loads(self._process.stdout.readline())
    except (OSError, ValueError) as error:
      raise errors.UserError(
        f"PyTorch does not run with --torch_python={python}: {error}"
      ) from None

  def time_steps(self, count: int) -> train_cell.Times:
    """Return the seconds of some steps."""
    self._process.stdin.write(f"{count}\n")
    self._process.stdin.flush()
    found = json.loads(self._process.stdout.readline())
    return train_cell.Times(tuple(found["wall"]), tuple(found["cpu"]))

  def close(self) -> None:
    """End it."""
    self._process.stdin.close()
    self._process.wait()


def measure(
  cell: train_cell.TimedStep,
  *,
  inputs: list[str],
  num_steps: int,
  num_turns: int,
  torch_python: str = "",
  profile: str = "",
) -> dict:
  """Measure one row.

  Args:
    cell: The step to time.
    inputs: Keys of `train_cell.INPUTS`.
    num_steps: Calls in one turn.
    num_turns: Turns; inputs and PyTorch alternate, so that other work on the
      machine slows all of them.
    torch_python: An interpreter with PyTorch; "" leaves it out.
    profile: Folder of a trace; "" leaves it out.

  Returns:
    The row, as it is written to train_speed.jsonl.
  """
  bench = train_cell.Bench(cell)
  bench.time_steps(_WARM_UP)
  other = Torch(torch_python, cell) if torch_python else None
  names = [*inputs, *(["torch"] if other else [])]
  wall = {name: [] for name in names}
  cpu = {name: [] for name in names}
  turns = {name: [] for name in names}
  for _, name in itertools.product(range(num_turns), names):
    if name == "torch":
      times = other.time_steps(num_steps * cell.steps_per_dispatch)
    else:
      times = bench.time_steps(num_steps, name)
    wall[name] += times.wall
    cpu[name] += times.cpu
    turns[name].append(statistics.mean(times.wall))
  if other:
    other.close()
  if profile:
    with jax.profiler.trace(profile):
      bench.time_steps(3)
  row = {
    "cell": cell.__dict__,
    "num_devices": jax.device_count(),
    "compile_secs": bench.compile_secs,
    **bench.memory(),
    "flop": bench.flops,
    "peak_flop_per_sec": matrix_product.measure(cell.dtype)
    * jax.device_count(),
    "steps": {
      name: {
        "median_secs": statistics.median(wall[name]),
        # Means over turns: a step that ends before the host looks would seem
        # to take no time.
        "fastest_secs": min(turns[name]),
        "slowest_secs": max(turns[name]),
        "cpu_secs": statistics.mean(cpu[name]),
        "images_per_sec": cell.batch_size / statistics.median(wall[name]),
        "count": len(wall[name]),
      }
      for name in names
    },
    "part_secs": bench.time_parts(num_steps),
    "about": hardware.about(),
  }
  if other:
    row["torch"] = other.about
  return row


def _main(argv: Sequence[str]) -> None:
  command.parse(argv, description=__doc__)
  given = flags.FLAGS.inputs
  if set(given) - set(train_cell.INPUTS) or "device" not in given:
    raise errors.UserError(
      f"--inputs is {','.join(given)}; it must be device, and may be host and"
      " real as well."
    )
  # Otherwise a second run would time the loading of a compiled program.
  jax.config.update("jax_enable_compilation_cache", False)
  folder = pathlib.Path(flags.FLAGS.out)
  folder.mkdir(parents=True, exist_ok=True)
  batches = [int(batch) for batch in flags.FLAGS.batch_sizes]
  parallel.use_cores(min(batches) // flags.FLAGS.accumulate)
  for backbone, size, batch, dtype, kind, method in itertools.product(
    flags.FLAGS.backbones,
    map(int, flags.FLAGS.image_sizes),
    batches,
    flags.FLAGS.dtypes,
    flags.FLAGS.parallel,
    flags.FLAGS.methods,
  ):
    row = measure(
      train_cell.TimedStep(
        backbone,
        size,
        batch,
        dtype,
        kind,
        method,
        accumulate=flags.FLAGS.accumulate,
        remat=flags.FLAGS.remat,
        steps_per_dispatch=flags.FLAGS.steps_per_dispatch,
      ),
      inputs=flags.FLAGS.inputs,
      num_steps=flags.FLAGS.steps,
      num_turns=flags.FLAGS.turns,
      torch_python=flags.FLAGS.torch_python,
      profile=flags.FLAGS.profile,
    )
    print(train_table.line(row), flush=True)
    path = folder / "train_speed.jsonl"
    with open(path, "a") as file:
      file.write(json.dumps(row) + "\n")
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    (folder / "train_speed.md").write_text(train_table.render(rows))


def _define_flags() -> None:
  flags.DEFINE_list("backbones", ["tiny"], "Names.")
  flags.DEFINE_list("image_sizes", ["48"], "Pixels.")
  flags.DEFINE_list("batch_sizes", ["128"], "B.")
  flags.DEFINE_list("dtypes", ["float32"], "float32, bfloat16.")
  flags.DEFINE_list("parallel", ["pmap"], "pmap, jit.")
  flags.DEFINE_list("methods", ["idhn"], "Of configs/methods.py.")
  flags.DEFINE_integer("accumulate", 1, "Parts of a batch.", lower_bound=1)
  flags.DEFINE_bool("remat", False, "Compute activations again.")
  flags.DEFINE_integer("steps_per_dispatch", 1, "Steps a call.")
  flags.DEFINE_list(
    "inputs", list(train_cell.INPUTS), "Where batches come from."
  )
  flags.DEFINE_integer("steps", 5, "Calls in one turn.", lower_bound=1)
  flags.DEFINE_integer("turns", 3, "Turns of each.", lower_bound=1)
  flags.DEFINE_string("torch_python", "", "Compare with PyTorch there.")
  flags.DEFINE_string("profile", "", "Folder of a trace.")
  flags.DEFINE_string(
    "out",
    str(pathlib.Path(__file__).parents[1] / "results"),
    "Folder of results.",
  )


if __name__ == "__main__":
  _define_flags()
  command.run(_main)
