"""Write one table of all pages of compiled programs.

python -m benchmarks.compile_ahead.overview

Reads the JSON files of benchmarks/results/compile_ahead and writes README.md
there: a row for each program, the ratio to the plain classifier, what chips
send each other, and the losses alone.
"""

import json
import pathlib
from collections.abc import Sequence

from absl import flags

from benchmarks.compile_ahead import collectives, targets
from dsh_jax.apps import command

_RESULTS = pathlib.Path(__file__).parents[1] / "results" / "compile_ahead"
_INTRODUCTION = """# Programs compiled ahead

Compiled, not run: {versions}. Memory is that of one chip. Milliseconds and MFU
follow from the TPU compiler's cycles; what chips send each other is not in
them. The plug-in for GPUs estimates no time. "Of the plain step" divides the
cycles for an image by those of a ResNet-50 classifier of stock Flax layers in
bfloat16, per-device BatchNorm, on the same kind of chip, compiled with the same
options. Written by `python -m benchmarks.compile_ahead.overview`.
"""
_HEADER = (
  "| chip | chips | program | backbone | type | parallel | batch | a chip"
  " | peak GB | fits | M cycles | ms | MFU | of the plain step | page |"
)
_SENT_HEADER = (
  "| chip | chips | backbone | parallel | batch | collective | how many"
  " | MB of the result | MB sent by a chip |"
)
_LOSSES_HEADER = (
  "| chip | chips | batch | loss | peak MB | ms | of the step | page |"
)


def write(folder: pathlib.Path) -> str:
  """Write README.md of a folder of results and returns its text."""
  pages = {
    path.stem: json.loads(path.read_text())
    for path in sorted(folder.glob("*.json"))
  }
  losses = {k: v for k, v in pages.items() if "losses" in v["settings"]}
  pages = {k: v for k, v in pages.items() if k not in losses}
  plain = _plain_cycles(pages)
  rows, sent = [], []
  for name, page in sorted(pages.items(), key=lambda item: _order(item[1])):
    for program, found in page["programs"].items():
      rows.append(_row(name, page, program, found, plain))
    sent += _sent(page)
  versions = ";\n".join(sorted({page["versions"] for page in pages.values()}))
  text = "\n".join(
    [
      _INTRODUCTION.format(versions=versions),
      _HEADER,
      "|---" * (_HEADER.count("|") - 1) + "|",
      *rows,
      "",
      "## What chips send in a training step",
      "",
      _SENT_HEADER,
      "|---" * (_SENT_HEADER.count("|") - 1) + "|",
      *sent,
      "",
      "## Losses alone, value and gradient",
      "",
      "The batch is global; on one chip, one chip computes all pairs, as each"
      " does under",
      "`pmap`. The step is that of ResNet-50 above in bfloat16 under `jit`, on"
      " as many chips.",
      "",
      _LOSSES_HEADER,
      "|---" * (_LOSSES_HEADER.count("|") - 1) + "|",
      *_losses(losses, pages),
      "",
    ]
  )
  (folder / "README.md").write_text(text)
  return text


def _order(page):
  settings = page["settings"]
  target = targets.parse(page["target"])
  return (
    page["target"].partition(":")[0],
    target.num_chips,
    settings["backbone"],
    settings["dtype"],
    settings["parallel"],
  )


def _plain_cycles(pages):
  """Return chip -> cycles of the plain classifier for an image of a chip."""
  return {
    page["target"].partition(":")[0]: page["programs"]["reference"]["cycles"]
    * targets.parse(page["target"]).num_chips
    / page["settings"]["batch"]
    for page in pages.values()
    if "reference" in page["programs"]
  }


def _row(name, page, program, found, plain):
  settings, target = page["settings"], targets.parse(page["target"])
  chip = page["target"].partition(":")[0]
  per_chip = settings["batch"] // target.num_chips
  cells = [chip, str(target.num_chips), program]
  if program == "reference":
    cells += ["resnet50", settings["dtype"], "shard_map"]
  else:
    cells += [settings[key] for key in ("backbone", "dtype", "parallel")]
  if program in ("train", "reference"):
    cells += [f"{settings['batch']:,}", f"{per_chip:,}"]
  else:  # Their sizes are those of the evaluation.
    cells += [""] * 2
  cells += [f"{found['peak_bytes'] * 1e-9:.1f}"]
  cells += ["yes" if found["fits"] else "no"]
  if found["cycles"]:
    cells += [f"{found['cycles'] * 1e-6:.1f}", f"{found['ms']:.1f}"]
    cells += [f"{100 * found['mfu']:.0f} %"]
  else:
    cells += [""] * 3
  comparable = program == "train" and settings["backbone"] == "resnet50"
  if comparable and settings["dtype"] == "bfloat16" and plain.get(chip):
    cells += [f"{found['cycles'] / per_chip / plain[chip]:.3f}"]
  else:
    cells += [""]
  return f"| {' | '.join(cells)} | [page]({name}.md) |"


def _sent(page):
  settings, target = page["settings"], targets.parse(page["target"])
  chip, count = page["target"].partition(":")[0], target.num_chips
  found = page["programs"].get("train", {"collectives": {}})
  return [
    f"| {chip} | {count} | {settings['backbone']} | {settings['parallel']} |"
    f" {settings['batch']:,} | {kind} | {one['count']} |"
    f" {one['bytes'] * 1e-6:.2f} |"
    f" {collectives.sent(kind, one['bytes'], count) * 1e-6:.2f} |"
    for kind, one in found["collectives"].items()
  ]


def _losses(losses, pages):
  steps = {
    page["target"]: page["programs"]["train"]["ms"]
    for page in pages.values()
    if "train" in page["programs"]
    and page["settings"]["backbone"] == "resnet50"
    and page["settings"]["dtype"] == "bfloat16"
    and page["settings"]["parallel"] == "jit"
  }
  rows = []
  for name, page in losses.items():
    target = targets.parse(page["target"])
    step = steps.get(page["target"])
    for loss, found in page["programs"].items():
      cells = [target.chip.name, f"{target.num_chips}"]
      cells += [f"{page['settings']['batch']:,}", loss]
      cells += [f"{found['peak_bytes'] * 1e-6:.1f}", f"{found['ms']:.3f}"]
      cells += [f"{100 * found['ms'] / step:.1f} %" if step else ""]
      rows.append(f"| {' | '.join(cells)} | [page]({name}.md) |")
  return rows


def _main(argv: Sequence[str]) -> None:
  command.parse(argv, description=__doc__)
  print(write(pathlib.Path(flags.FLAGS.folder)))


if __name__ == "__main__":
  flags.DEFINE_string("folder", str(_RESULTS), "Of the JSON files.")
  command.run(_main)
