"""What devices send each other, read from a compiled program."""

import dataclasses
import math
import re

from benchmarks.compile_ahead import hlo

_KINDS = (
  "all-reduce",
  "all-gather",
  "reduce-scatter",
  "all-to-all",
  "collective-permute",
)
_ARRAY = re.compile(r"\b(pred|bf16|[fsu]\d+)\[([\d,]*)\]")
_BYTES = {"pred": 1, "bf16": 2}


@dataclasses.dataclass(frozen=True)
class Collective:
  """All operations of one kind.

  Attributes:
    count: How many there are.
    bytes: Of their results on one device.
  """

  count: int
  bytes: int


def read(program: hlo.Program) -> dict[str, Collective]:
  """Return kind -> what a program has of it, by falling number of bytes.

  The compiler writes an operation that overlaps with several computations into
  each of them; those copies have one origin and one shape, and count once.
  """
  found: dict[str, dict[tuple, int]] = {}
  for instruction in program.everything():
    kind = instruction.opcode.removesuffix("-start")
    if kind in _KINDS:
      shapes = tuple(_ARRAY.findall(instruction.result))
      key = instruction.scope or instruction.name, shapes
      size = num_bytes(instruction.result)
      if instruction.opcode.endswith("-start") and kind != "all-reduce":
        size //= 2  # Operand and result.
      found.setdefault(kind, {})[key] = size
  totals = {
    kind: Collective(len(sizes), sum(sizes.values()))
    for kind, sizes in found.items()
  }
  return dict(sorted(totals.items(), key=lambda item: -item[1].bytes))


def num_bytes(result: str) -> int:
  """Return the bytes of arrays that are printed as in HLO."""
  return sum(
    math.prod(map(int, filter(None, shape.split(","))))
    * (_BYTES.get(kind) or int(kind[1:]) // 8)
    for kind, shape in _ARRAY.findall(result)
  )


def sent(kind: str, result_bytes: int, num_devices: int) -> float:
  """Return the bytes that a device sends in a ring.

  Args:
    kind: Of the operation.
    result_bytes: Of its result on one device.
    num_devices: P.
  """
  others = num_devices - 1
  if kind == "reduce-scatter":  # The result is a P-th of what goes in.
    return result_bytes * others
  share = others / num_devices
  return result_bytes * share * (2 if kind == "all-reduce" else 1)
