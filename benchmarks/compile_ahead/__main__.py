"""Compile a configuration for hardware that is not there, and cost it.

python -m benchmarks.compile_ahead --target=v5e:2x4 \\
  --config=configs/nuswide.py:method=idhn,bits=64,backbone=resnet50 \\
  --config.parallel=jit --config.dtype=bfloat16 --config.train.batch_size=1024

Compiles the train step, the encode step and the histogram for a target such as
v5e:1x1, v5e:16x16, v5p:2x2x1, v6e:2x4 or h100:1, and writes what one chip needs
and does to benchmarks/results/compile_ahead/NAME.json and NAME.md, with a NAME
of target and settings. It needs the compiler, not the hardware: an environment
with jax[tpu] or jax[cuda12].
"""

import importlib.metadata
import pathlib
import sys
from collections.abc import Callable, Sequence
from typing import Any

import jax
from absl import flags
from ml_collections import config_flags

from benchmarks.compile_ahead import cost, programs, report, targets
from dsh_jax import errors, losses, parallel
from dsh_jax.apps import command
from dsh_jax.config import config_files, fields
from dsh_jax.retrieval import histogram_xla

_PROGRAMS = ("train", "encode", "histogram", "reference")
_RESULTS = pathlib.Path(__file__).parents[1] / "results" / "compile_ahead"
_EXAMPLE = "configs/nuswide.py:method=idhn,backbone=resnet50"


def _define_flags(values: flags.FlagValues) -> None:
  config_flags.DEFINE_config_file(
    "config",
    None,
    f"FILE or FILE:method=...; --config.FIELD=VALUE. Such as {_EXAMPLE}.",
    lock_config=True,
    flag_values=values,
  )

  def define(kind, name, default, text):
    getattr(flags, f"DEFINE_{kind}")(name, default, text, flag_values=values)

  define("string", "target", "v5e:2x4", "CHIP:SHAPE.")
  define(
    "list",
    "programs",
    list(_PROGRAMS[:3]),
    f"Of {', '.join(_PROGRAMS)}; the last is a plain classifier.",
  )
  define(
    "list",
    "methods",
    [],
    "Losses to compile alone, value and gradient, in place of the programs;"
    " all of them with --methods=all.",
  )
  define("bool", "largest_batch", False, "Also look for what fits a chip.")
  define("list", "compiler_options", [], "NAME=VALUE of the compiler.")
  define("integer", "num_classes", 21, "L.")
  define("integer", "num_features", 2048, "F, of a network of vectors.")
  define("integer", "num_queries", 2100, "Q, of the histogram.")
  define("integer", "most_shared", 12, "S, of the histogram.")
  define("string", "out", str(_RESULTS), "Folder of the results.")
  define("string", "name", "", "Of the results; by default from the settings.")


def _main(argv: Sequence[str]) -> None:
  targets.prepare()
  config_files.make_importable()
  argv = config_files.find(argv)
  config_files.check(argv)
  given = command.parse(argv, _define_flags, __doc__)
  if given.config is None:
    raise errors.UserError(f"No --config; give one, such as {_EXAMPLE}.")
  target = targets.parse(given.target)
  devices = target.devices()
  fields.validate(given.config, target.num_chips)
  if given.largest_batch and given.methods:
    raise errors.UserError(
      "--largest_batch is that of the train step; leave out --methods."
    )
  made = _programs(given.config, given, devices)
  settings = _settings(given) | parallel.compiler_options(devices[0])
  options = _options(given.compiler_options)
  settings |= options
  about = {
    "target": target.name,
    "settings": settings,
    "versions": _versions(target),
  }
  folder = pathlib.Path(given.out)
  name = given.name or default_name(target, settings)
  costs: dict[str, cost.Cost] = {}
  for program, trace in _wanted(given, made).items():
    print(f"Compiling {program} ...", file=sys.stderr, flush=True)
    costs[program] = cost.estimate(trace(), target, options)
    print(
      "\n".join(report.summary({program: costs[program]}, target.chip)[2:-1])
    )
    # Compilers can crash: keep the programs before.
    report.write(folder, name, about, costs)
  if given.largest_batch:
    most = _largest_batch(given, target, devices)
    settings["largest batch a chip"] = most or "none"
    report.write(folder, name, about, costs)
  print(
    f"{report.page(about, costs)}\nWritten to {folder / name}.md and .json."
  )


def _settings(given):
  config = given.config
  if given.methods:
    settings = {"losses": "alone"}
  else:
    settings = {
      "method": config.method,
      "backbone": config.model.backbone,
      "parallel": config.parallel,
      "dtype": config.dtype,
      "image size": config.data.crop_size or config.data.image_size,
    }
  return settings | {"bits": config.bits, "batch": config.train.batch_size}


def default_name(target: targets.Target, settings: dict[str, Any]) -> str:
  """Return the name of the page of a target and its settings."""
  keys = ("backbone", "dtype", "parallel", "batch")
  words = [settings[key] for key in keys if key in settings]
  kind = settings.get("method", "losses")
  return "_".join(map(str, (target.chip.name, target.num_chips, kind, *words)))


def _wanted(
  given: flags.FlagValues, made: programs.Programs
) -> dict[str, Callable[[], Any]]:
  """Return name -> function that traces, of what the flags ask for."""
  batch_size = given.config.train.batch_size
  if given.methods:
    names = list(losses.LOSSES) if given.methods == ["all"] else given.methods
    for name in names:
      if name not in losses.LOSSES:
        raise errors.unknown("loss", name, losses.LOSSES, "--methods")
    return {
      name: lambda name=name: made.loss(name, batch_size) for name in names
    }
  num_devices = len(made.devices)
  encoded = given.config.eval.batch_size * num_devices
  chunk = num_devices * max(
    256, histogram_xla.PAIRS_PER_CHUNK // given.num_queries
  )
  known = {
    "train": made.train_step,
    "encode": lambda: made.encode_step(encoded),
    "histogram": lambda: made.histogram(
      given.num_queries, given.most_shared, chunk
    ),
    "reference": made.reference_step,
  }
  for name in given.programs:
    if name not in known:
      raise errors.unknown("program", name, known, "--programs")
  return {name: known[name] for name in given.programs}


def largest(fits: Callable[[int], bool], start: int, multiple: int) -> int:
  """Return the largest size that fits, and 0 if none does.

  Sizes are `multiple` times a power of two, or times one and a half such.

  Args:
    fits: Size -> whether it does; asked once for each.
    start: About where to begin.
    multiple: At least 1.
  """
  size = 1
  while 2 * size * multiple <= start:
    size *= 2
  if fits(size * multiple):
    while fits(2 * size * multiple):
      size *= 2
  else:
    size //= 2
    while size and not fits(size * multiple):
      size //= 2
  half = size // 2
  if half and fits((size + half) * multiple):
    size += half
  return size * multiple


def _largest_batch(
  given: flags.FlagValues, target: targets.Target, devices: Sequence[Any]
) -> int:
  """Return the most images a chip with which the train step fits, or 0."""
  options = _options(given.compiler_options)

  def fits(per_chip):
    config = given.config.copy_and_resolve_references()
    config.train.batch_size = per_chip * target.num_chips
    traced = _programs(config, given, devices).train_step()
    print(f"Trying {per_chip} images a chip ...", file=sys.stderr, flush=True)
    try:
      return cost.estimate(traced, target, options).fits
    except jax.errors.JaxRuntimeError as error:
      if "RESOURCE_EXHAUSTED" in str(error):
        return False
      raise

  per_chip = given.config.train.batch_size // target.num_chips
  return largest(fits, per_chip, given.config.train.accumulate)


def _programs(config, given, devices):
  return programs.Programs(
    config, given.num_classes, devices, given.num_features
  )


def _options(words: Sequence[str]) -> dict[str, str]:
  for word in words:
    if "=" not in word:
      raise errors.UserError(
        f"--compiler_options has {word!r}; each must be NAME=VALUE."
      )
  return dict(word.split("=", 1) for word in words)


def _versions(target: targets.Target) -> str:
  names = ["jax", target.package.replace("_", "-")]
  return ", ".join(
    f"{name} {importlib.metadata.version(name)}" for name in names
  )


if __name__ == "__main__":
  command.run(_main)
