"""Read the text of a compiled program: its instructions, and how often."""

import dataclasses
import re
from collections.abc import Iterator

_COMPUTATION = re.compile(r"^(ENTRY )?%([\w.\-]+) \(.*\{$")
_INSTRUCTION = re.compile(
  r"^\s+(?:ROOT )?%([\w.\-]+) = (\(.*?\)|\S+) ([a-z][\w\-]*)\((.*)$"
)
_CALLED = re.compile(
  r"(?:calls|to_apply|body|condition|true_computation|false_computation)"
  r"=%([\w.\-]+)"
)
_BRANCHES = re.compile(r"branch_computations=\{([^}]*)\}")
_BODY = re.compile(r"body=%([\w.\-]+)")
_CONDITION = re.compile(r"condition=%([\w.\-]+)")
_CYCLES = re.compile(r'"estimated_cycles":"(\d+)"')
_SCOPE = re.compile(r'op_name="([^"]*)"')
_BOUND = re.compile(r"constant\((\d+)\)")
_KNOWN = re.compile(r'"known_trip_count":\{"n":"(\d+)"\}')


@dataclasses.dataclass(frozen=True)
class Instruction:
  """One line of a program.

  Attributes:
    name: Unique in the program.
    result: Type and shape of the result, as printed.
    opcode: Such as "fusion" or "all-reduce".
    rest: The line after the opcode's bracket.
  """

  name: str
  result: str
  opcode: str
  rest: str

  @property
  def cycles(self) -> int:
    """Cycles that the TPU compiler expects; 0 where it says nothing."""
    found = _CYCLES.search(self.rest)
    return int(found[1]) if found else 0

  @property
  def scope(self) -> str:
    """Where in the traced program it comes from, "a/b/c"; "" if unknown."""
    found = _SCOPE.search(self.rest)
    return found[1] if found else ""

  @property
  def called(self) -> list[str]:
    """Names of the computations that it calls, branches included."""
    names = _CALLED.findall(self.rest)
    for group in _BRANCHES.findall(self.rest):
      names += re.findall(r"%([\w.\-]+)", group)
    return names


class Program:
  """A compiled program.

  Attributes:
    computations: Name -> instructions.
    entry: Name of the computation that the program starts in.
    open_loops: Names of loops whose length depends on data; the instructions
      of their bodies are counted once.
  """

  def __init__(self, text: str):
    """Parse the text that `jax.stages.Compiled.as_text` returns."""
    self.computations: dict[str, list[Instruction]] = {}
    self.entry = ""
    self.open_loops: list[str] = []
    current: list[Instruction] = []
    for line in text.splitlines():
      if found := _COMPUTATION.match(line):
        current = self.computations.setdefault(found[2], [])
        if found[1]:
          self.entry = found[2]
      elif found := _INSTRUCTION.match(line):
        current.append(Instruction(*found.groups()))

  def executed(self) -> Iterator[tuple[Instruction, int]]:
    """Yield what a device executes, one by one, and how often.

    Loops, calls and branches are opened (of a conditional, the branch with
    most cycles); fusions are one instruction.
    """
    self.open_loops.clear()
    yield from self._executed(self.entry, 1)

  def _executed(self, name, repeats):
    for instruction in self.computations.get(name, ()):
      if instruction.opcode == "while":
        body = _BODY.search(instruction.rest)[1]
        yield from self._executed(body, repeats * self._length(instruction))
      elif instruction.opcode == "conditional":
        dearest = max(instruction.called, key=self._cycles)
        yield from self._executed(dearest, repeats)
      elif instruction.opcode == "call":
        yield from self._executed(instruction.called[0], repeats)
      else:
        yield instruction, repeats

  def inside(self, instruction: Instruction) -> Iterator[Instruction]:
    """Yield an instruction and all that it is made of."""
    yield instruction
    for name in instruction.called:
      for inner in self.computations.get(name, ()):
        yield from self.inside(inner)

  def everything(self) -> Iterator[Instruction]:
    """Yield all instructions of all computations."""
    for instructions in self.computations.values():
      yield from instructions

  def _cycles(self, name):
    return sum(i.cycles * n for i, n in self._executed(name, 1))

  def _length(self, loop):
    """Count the rounds of a loop; 1 where data decide."""
    if known := _KNOWN.search(loop.rest):
      return int(known[1])
    condition = self.computations[_CONDITION.search(loop.rest)[1]]
    bounds = [
      int(found[1])
      for instruction in condition
      for inner in self.inside(instruction)
      if inner.opcode == "constant"
      and (found := _BOUND.match(f"constant({inner.rest}"))
    ]
    if len(bounds) != 1:
      if loop.name not in self.open_loops:
        self.open_loops.append(loop.name)
      return 1
    return max(1, bounds[0])
