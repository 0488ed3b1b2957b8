"""The findings of a compilation as JSON and as a Markdown page."""

import dataclasses
import json
import pathlib
from typing import Any

from benchmarks.compile_ahead import collectives, cost, targets

_NOTE = (
  "Compiled, not run. Cycles are the TPU compiler's own estimates for each"
  " instruction, times the length of the loops that it is in; milliseconds and"
  " MFU follow from them and from the data sheet. What chips send each other is"
  " not in the cycles."
)
_MB = 1e-6


def write(
  folder: pathlib.Path, name: str, about: dict[str, Any], costs: dict[str, Any]
) -> None:
  """Write NAME.json and NAME.md.

  Args:
    folder: Made if it is not there.
    name: Of both files, without suffix.
    about: What was compiled for what: "target", "settings", "versions".
    costs: Program -> `cost.Cost`.
  """
  folder.mkdir(parents=True, exist_ok=True)
  programs = {k: dataclasses.asdict(v) for k, v in costs.items()}
  text = json.dumps(about | {"programs": programs}, indent=2)
  (folder / f"{name}.json").write_text(text + "\n")
  (folder / f"{name}.md").write_text(page(about, costs))


def page(about: dict[str, Any], costs: dict[str, cost.Cost]) -> str:
  """Return the Markdown page.

  Args:
    about: As in `write`.
    costs: As in `write`.
  """
  target = targets.parse(about["target"])
  settings = ", ".join(f"{k} {v}" for k, v in about["settings"].items())
  return "\n".join(
    [
      f"# {about['target']}: what one chip of {target.num_chips} does",
      "",
      f"{settings}; {about['versions']}.",
      "",
      _NOTE,
      "",
      *summary(costs, target.chip),
      *_sent(costs, target.num_chips),
      *_shares(costs, "by_layer", "layer"),
      *_shares(costs, "by_kind", "kind of operation"),
    ]
  )


def summary(costs: dict[str, cost.Cost], chip: targets.Chip) -> list[str]:
  """Return the lines of the table with a row for each program.

  Args:
    costs: As in `write`.
    chip: Of the target.
  """
  lines = [
    "| program | arguments MB | temporary MB | peak MB | fits"
    f" {chip.memory_bytes / 1e9:.0f} GB | GFLOP | moved GB | M cycles | ms"
    " | MFU |",
    "|---" * 10 + "|",
  ]
  for name, found in costs.items():
    sizes = (found.argument_bytes, found.temporary_bytes, found.peak_bytes)
    cells = [f"{size * _MB:.1f}" for size in sizes]
    cells += ["yes" if found.fits else "no"]
    cells += [f"{found.flop * 1e-9:.1f}" if found.flop else ""]
    moved = found.bytes_accessed
    cells += [f"{moved * 1e-9:.2f}" if moved else ""]
    if found.cycles:
      cells += [f"{found.cycles * 1e-6:.2f}", f"{found.ms:.3f}"]
      cells += [f"{100 * found.mfu:.0f} %"]
    else:
      cells += ["", "", ""]
    lines.append(f"| {name} | {' | '.join(cells)} |")
    if found.open_loops:
      lines[-1] += f" ({found.open_loops} loops of unknown length)"
  return [*lines, ""]


def _sent(costs, num_chips):
  rows = [
    f"| {name} | {kind} | {found.count} | {found.bytes:,} |"
    f" {collectives.sent(kind, found.bytes, num_chips):,.0f} |"
    for name, program in costs.items()
    for kind, found in program.collectives.items()
  ]
  if not rows:
    return []
  return [
    "| program | collective | how many | bytes | sent by a chip in a ring |",
    "|---" * 5 + "|",
    *rows,
    "",
  ]


def _shares(costs, field, title):
  if len(costs) > 4:  # Of losses alone, whose row says it all.
    return []
  rows = [
    f"| {name} | {part} | {cycles * 1e-6:.2f} |"
    f" {100 * cycles / program.cycles:.1f} % |"
    for name, program in costs.items()
    for part, cycles in getattr(program, field).items()
    if cycles > 0.002 * program.cycles
  ]
  if not rows:
    return []
  return [
    f"| program | {title} | M cycles | share |",
    "|---" * 4 + "|",
    *rows,
    "",
  ]
