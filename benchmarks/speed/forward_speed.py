"""Forward images/s of backbones, optionally compared with PyTorch.

python -m benchmarks.speed.forward_speed --torch_python=TORCH_ENV/bin/python \\
  --out=forward_speed.md

Our batches and PyTorch's take turns, so that a busy machine slows both.
PyTorch runs eagerly, channels-last, in inference mode, with as many threads as
there are cores. Images are 224 x 224; ours are bytes that are also cropped and
normalised.
"""

import os
import pathlib
import statistics
import subprocess
import time
from collections.abc import Sequence

import numpy as np
from absl import flags

from benchmarks import hardware
from dsh_jax import errors, parallel
from dsh_jax.apps import command

_ROOT = pathlib.Path(__file__).parents[2]
_SIZE = 224


def measure(
  backbone: str, batch_size: int, num_rounds: int, torch_python: str
) -> tuple[float, float | None]:
  """Return the median images/s of ours and, optionally, of PyTorch.

  Args:
    backbone: A name of `models.BACKBONES`.
    batch_size: Images at once.
    num_rounds: Batches for each.
    torch_python: An interpreter with PyTorch; "" leaves it out.

  Raises:
    UserError: PyTorch does not run.
  """
  import jax

  from configs import photos
  from dsh_jax.runs import frozen

  config = photos.get_config("listfile")
  config.model.backbone = backbone
  config.data.image_size = _SIZE
  extract = frozen.Extractor(config, batch_size // jax.local_device_count())
  images = np.random.default_rng(0).integers(
    0, 256, (extract.batch_size, _SIZE, _SIZE, 3), np.uint8
  )
  extract(images)
  ours, other = [], []
  process = torch_python and subprocess.Popen(
    [
      torch_python,
      "benchmarks/speed/torch_forward.py",
      backbone,
      str(extract.batch_size),
      str(parallel.num_cores()),
    ],
    cwd=_ROOT,
    env=os.environ | {"PYTHONPATH": "tests"},
    stdin=subprocess.PIPE,
    stdout=subprocess.PIPE,
    text=True,
  )
  for _ in range(num_rounds):
    started = time.perf_counter()
    extract(images)
    ours.append(time.perf_counter() - started)
    if process:
      process.stdin.write("\n")
      process.stdin.flush()
      line = process.stdout.readline()
      if not line:
        raise errors.UserError(
          f"PyTorch does not run with --torch_python={torch_python}."
        )
      other.append(float(line))
  if process:
    process.stdin.close()
    process.wait()
    process.stdout.close()
  rates = [
    extract.batch_size / statistics.median(x) if x else None
    for x in (ours, other)
  ]
  return tuple(rates)


def _define_flags(values: flags.FlagValues) -> None:
  flags.DEFINE_list(
    "backbones",
    ["efficientnet_lite0", "resnet18"],
    "Names of backbones.",
    flag_values=values,
  )
  flags.DEFINE_integer("batch_size", 32, "Images at once.", flag_values=values)
  flags.DEFINE_integer("rounds", 7, "Batches of each.", flag_values=values)
  flags.DEFINE_string(
    "torch_python", "", "An interpreter with PyTorch.", flag_values=values
  )
  flags.DEFINE_string(
    "out", "", "Markdown file to write too.", flag_values=values
  )


def main(argv: Sequence[str]) -> None:
  """Run the benchmark."""
  given = command.parse(argv, _define_flags, __doc__)
  parallel.use_cores(given.batch_size)
  load = os.getloadavg()[0]
  lines = [
    "# Forward speed",
    "",
    f"Images/s at {_SIZE} x {_SIZE}, batches of {given.batch_size}, medians of"
    f" {given.rounds} that take turns. {hardware.describe()}; load average of"
    f" the machine at the start {load:.1f}.",
    "",
    "| backbone | ours | PyTorch | ours / PyTorch |",
    "|---|---|---|---|",
  ]
  for backbone in given.backbones:
    ours, other = measure(
      backbone, given.batch_size, given.rounds, given.torch_python
    )
    beside = f"{other:.1f} | {ours / other:.2f}" if other else "– | –"
    lines.append(f"| {backbone} | {ours:.1f} | {beside} |")
    print(lines[-1], flush=True)
  if given.out:
    pathlib.Path(given.out).write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
  command.run(main)
