"""How a method's validation score depends on its settings.

python -m benchmarks.tables.study --config=configs/studies/idhn.py --workdir=DIR

A sweep changes one field, a plane two; all other settings are the preset of the
first of `config.cells`, with its seeds. Written to the workdir: study.md and
study.png, for all finished runs.
"""

import dataclasses
import itertools
import math
import pathlib
from collections.abc import Sequence

import ml_collections
import numpy as np
from absl import flags
from ml_collections import config_flags

from benchmarks.tables import (
  cells,
  in_process,
  prepare,
  processes,
  rates,
  runner,
  study_plot,
  table_lines,
)
from dsh_jax import errors
from dsh_jax.apps import command
from dsh_jax.retrieval import significance

_CONFIG = config_flags.DEFINE_config_file(
  "config", None, "A file of configs/studies."
)
_WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the study.")
_JOBS = flags.DEFINE_integer(
  "jobs",
  0,
  "Runs at a time, each a process; 0: one after another in this process.",
  lower_bound=0,
)
_OVERRIDE = flags.DEFINE_multi_string(
  "override", [], "PATH=VALUE, a config field of all runs; may be repeated."
)
_REPORT_ONLY = flags.DEFINE_boolean(
  "report_only", False, "Write the study of what is done; run nothing."
)


@dataclasses.dataclass(frozen=True)
class Study:
  """Runs, arranged in sweeps and a plane.

  A setting is the cell of its first seed.

  Attributes:
    table: Its cells are all runs.
    seeds: Seeds of each setting.
    sweeps: Field -> value -> setting.
    fields: The two fields of the plane.
    plane: (value, value) of `fields` -> setting.
    plain: Method -> its preset.
  """

  table: cells.Table
  seeds: tuple[int, ...]
  sweeps: dict[str, dict[float, cells.Cell]]
  fields: tuple[str, str]
  plane: dict[tuple[float, float], cells.Cell]
  plain: dict[str, cells.Cell]


def make_study(config: ml_collections.ConfigDict, overrides=()) -> Study:
  """List the runs of a study config.

  Args:
    config: Fields as in configs/studies/idhn.py.
    overrides: Further "path=value" for all runs.

  Returns:
    The study.
  """
  table = cells.make_table(config, overrides)
  first = table.wanted[0]

  def change(*pairs):
    return dataclasses.replace(
      first,
      method=config.method,
      variant="_".join(f"{f.rpartition('.')[2]}{v:g}" for f, v in pairs),
      overrides=tuple(f"{field}={value!r}" for field, value in pairs),
    )

  sweeps = {
    sweep["field"]: {v: change((sweep["field"], v)) for v in sweep["values"]}
    for sweep in config.sweeps
  }
  one, two = config.plane
  plane = {
    (v, w): change((one["field"], v), (two["field"], w))
    for v, w in itertools.product(one["values"], two["values"])
  }
  seeds = tuple(dict.fromkeys(cell.seed for cell in table.wanted))
  plain = {
    cell.method: cell for cell in table.wanted if cell.seed == first.seed
  }
  settings = [*plain.values(), *plane.values()]
  for values in sweeps.values():
    settings += values.values()
  # Seeds of a setting in succession: they share compiled programs.
  runs = [
    dataclasses.replace(setting, seed=seed)
    for setting in dict.fromkeys(settings)
    for seed in seeds
  ]
  return Study(
    table=dataclasses.replace(table, wanted=tuple(runs)),
    seeds=seeds,
    sweeps=sweeps,
    fields=(one["field"], two["field"]),
    plane=plane,
    plain=plain,
  )


def read_scores(
  study: Study, workdir: pathlib.Path
) -> dict[cells.Cell, list[float]]:
  """Return setting -> validation scores of its finished seeds."""
  scores: dict[cells.Cell, list[float]] = {}
  for cell in study.table.wanted:
    folder = workdir / cell.folder
    if runner.state(folder, study.table.settings(cell)) == runner.DONE:
      result = runner.read_json(folder / "result.json")
      score = rates.validation_score(result, study.table.metrics[0])
      setting = dataclasses.replace(cell, seed=study.seeds[0])
      scores.setdefault(setting, []).append(score)
  return scores


def write(study: Study, workdir: pathlib.Path) -> pathlib.Path:
  """Write study.md and study.png; return the path of the first."""
  scores = read_scores(study, workdir)
  path = workdir / "study.md"
  path.write_text(_markdown(study, scores), encoding="utf-8")
  study_plot.save(study, scores, workdir / "study.png")
  return path


def _text(study, scores, cell):
  """Return mean ± half-width; "*" where it differs from the preset."""
  if cell not in scores:
    return "not done"
  mean, half_width = significance.t_interval(scores[cell])
  if math.isnan(half_width):
    return f"{mean:.3f}"
  mark = " *" if _p_values(study, scores).get(cell, 1.0) < 0.05 else ""
  return f"{mean:.3f} ± {half_width:.3f}{mark}"


def _p_values(study, scores):
  """Return setting -> p-value of no difference to the preset, corrected."""
  preset = study.plain[study.table.wanted[0].method]
  others = [cell for cell in scores if cell != preset]
  if preset not in scores:
    return {}
  columns = {cell: np.array(found)[:, None] for cell, found in scores.items()}
  p_values = significance.holm(
    [significance.compare(columns[c], columns[preset]).p_value for c in others]
  )
  return dict(zip(others, p_values, strict=True))


def _markdown(study, scores):
  table = study.table
  first = table.wanted[0]
  num_done = sum(map(len, scores.values()))
  parts = [
    f"# {table.title}",
    f"{table.metrics[0]} of validation queries at {first.bits} bits, of the"
    f" epoch that they chose: mean of the seeds"
    f" {', '.join(map(str, study.seeds))} ± half of the 95 % interval of"
    f" Student's t. * differs from {first.method} as it is: p < 0.05 by Welch's"
    " test over seeds, for these queries, after Holm's correction for all"
    f" settings. {num_done} of {len(table.wanted)} runs are done. For all runs:"
    f" `{' '.join(table.overrides)}`; else the method's preset.",
    table_lines.grid_lines(
      ["method", table.metrics[0]],
      [
        [name, _text(study, scores, cell)] for name, cell in study.plain.items()
      ],
    ),
  ]
  for field, values in study.sweeps.items():
    lines = [
      [f"{v:g}", _text(study, scores, cell)] for v, cell in values.items()
    ]
    parts.append(table_lines.grid_lines([field, table.metrics[0]], lines))
  one, two = study.fields
  columns = list(dict.fromkeys(w for _, w in study.plane))
  lines = [
    [f"{v:g}", *(_text(study, scores, study.plane[v, w]) for w in columns)]
    for v in dict.fromkeys(v for v, _ in study.plane)
  ]
  head = [f"{one} \\ {two}", *(f"{w:g}" for w in columns)]
  parts.append(table_lines.grid_lines(head, lines))
  return "\n\n".join(parts) + "\n"


def _print(job, state, secs):
  text = f"{job.title}: {state}"
  if state != runner.DONE:
    text += f", {runner.error_of(job.folder, job.settings)}"
  print(f"{text}, {secs:.0f} s", flush=True)


def _run(argv: Sequence[str]) -> None:
  command.parse(argv, description=__doc__)
  config = cells.config_of(_CONFIG, "configs/studies/idhn.py")
  if not _WORKDIR.value:
    raise errors.UserError("No folder was given. Give one by --workdir=DIR.")
  workdir = pathlib.Path(_WORKDIR.value)
  study = make_study(config, _OVERRIDE.value)
  if _REPORT_ONLY.value:
    workdir.mkdir(parents=True, exist_ok=True)
    print(f"The study is in {write(study, workdir)}.")
    return

  def make_job(cell):
    folder = workdir / cell.folder
    return runner.Job(
      title=cell.title,
      command=study.table.command(cell, folder),
      settings=study.table.settings(cell),
      folder=folder,
    )

  with runner.only_one(workdir):
    runner.forget_failures(workdir)
    prepare.run(study.table, workdir)
    try:
      if _JOBS.value:
        processes.run(study.table.wanted, make_job, _JOBS.value, _print)
      else:
        in_process.run(study.table.wanted, make_job, _print)
    finally:
      print(f"The study is in {write(study, workdir)}.")


if __name__ == "__main__":
  command.run(_run)
