"""What a compiled program costs one chip, as its compiler estimates it."""

import collections
import dataclasses
import re

import jax

from benchmarks.compile_ahead import collectives, hlo, targets
from dsh_jax.runs import flop

_LAYER = re.compile(
  r"(backbone/[a-z]+\d*|head|augmentation|loss|optimizer)(?=[/_)]|$)"
)
# What a fusion is named after: the first of these that is inside it.
_KINDS = {
  "convolution": ("convolution", "dot"),
  "pooling": ("select-and-scatter", "reduce-window"),
  "sort": ("sort",),
  "scatter, gather": ("scatter", "gather", "dynamic-update-slice"),
  "reduction": ("reduce",),
}
_COPIES = ("copy", "transpose", "bitcast", "pad", "concatenate", "slice")


@dataclasses.dataclass(frozen=True)
class Cost:
  """Of one program, for each chip.

  Attributes:
    argument_bytes: Of what it is given.
    temporary_bytes: Of what it needs besides.
    peak_bytes: Arguments, results, temporaries and code, without what is
      overwritten.
    fits: Whether that is at most the chip's memory.
    flop: Floating-point operations, loops counted once; for a GPU those of
      convolutions and matrix products, loops counted by their length.
    bytes_accessed: Of memory, loops counted once; 0 for a GPU.
    cycles: The compiler's estimate, loops counted by their length; 0 for a
      GPU.
    ms: Those cycles in milliseconds; 0 for a GPU.
    mfu: flop, divided by what the chip could do in that time.
    collectives: Kind -> how many and how many bytes.
    by_layer: Layer -> cycles, the largest first.
    by_kind: Kind of operation -> cycles, the largest first.
    open_loops: Loops whose length depends on data; they count once.
  """

  argument_bytes: int
  temporary_bytes: int
  peak_bytes: int
  fits: bool
  flop: float
  bytes_accessed: float
  cycles: int
  ms: float
  mfu: float
  collectives: dict[str, collectives.Collective]
  by_layer: dict[str, int]
  by_kind: dict[str, int]
  open_loops: int


def estimate(
  traced: jax.stages.Traced,
  target: targets.Target,
  options: dict[str, str] | None = None,
) -> Cost:
  """Compile a program and estimate its cost.

  Args:
    traced: For the devices of `target`.
    target: Whose clock, peak and memory are used.
    options: Of the compiler, besides those of the program.
  """
  compiled = traced.lower().compile(compiler_options=options or None)
  chip, program = target.chip, hlo.Program(compiled.as_text())
  memory = compiled.memory_analysis()
  facts = compiled.cost_analysis() or {}  # The GPU plug-in has none.
  peak = (
    memory.argument_size_in_bytes
    + memory.output_size_in_bytes
    + memory.temp_size_in_bytes
    + memory.generated_code_size_in_bytes
    - memory.alias_size_in_bytes
  )
  by_layer, by_kind = collections.Counter(), collections.Counter()
  for instruction, repeats in program.executed():
    cycles = instruction.cycles * repeats
    if cycles:
      by_layer[layer_of(program, instruction)] += cycles
      by_kind[kind_of(program, instruction)] += cycles
  cycles = sum(by_kind.values())
  if "flops" in facts:
    operations = float(facts["flops"])
  else:
    operations = flop.of_jaxpr(traced.jaxpr.jaxpr) / target.num_chips
  secs = cycles / chip.clock_hz if chip.clock_hz else 0.0
  return Cost(
    argument_bytes=memory.argument_size_in_bytes,
    temporary_bytes=memory.temp_size_in_bytes,
    peak_bytes=peak,
    fits=peak <= chip.memory_bytes,
    flop=operations,
    bytes_accessed=float(facts.get("bytes accessed", 0)),
    cycles=cycles,
    ms=1e3 * secs,
    mfu=operations / secs / chip.peak if secs else 0.0,
    collectives=collectives.read(program),
    by_layer=dict(by_layer.most_common()),
    by_kind=dict(by_kind.most_common()),
    open_loops=len(program.open_loops),
  )


def layer_of(program: hlo.Program, instruction: hlo.Instruction) -> str:
  """Return the layer of an instruction, "... backward" for its gradient."""
  for part in program.inside(instruction):
    if found := _LAYER.findall(part.scope):
      backward = " backward" if "transpose(" in part.scope else ""
      return found[-1] + backward  # Scopes are nested.
  return "other"


def kind_of(program: hlo.Program, instruction: hlo.Instruction) -> str:
  """Return what an instruction mostly does."""
  opcodes = {part.opcode for part in program.inside(instruction)}
  for kind, names in _KINDS.items():
    if opcodes.intersection(names):
      return kind
  if instruction.opcode.removesuffix("-start") in _COPIES:
    return "copy"
  return "elementwise"
