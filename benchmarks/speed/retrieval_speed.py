"""Times evaluation and search, compared with common alternatives.

python -m benchmarks.speed.retrieval_speed \\
  --output=benchmarks/results/retrieval_speed.md

On a CPU: (query, item) pairs per second, compared with FAISS, the usual
NumPy code and the distances alone; on a busy machine add --one_core. On an
accelerator, also the XLA paths, compared with its copies and products.
"""

import datetime
import os
import pathlib
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from importlib import metadata

import jax
import numpy as np
from absl import app, flags, logging

from benchmarks import hardware
from benchmarks.speed import (
  retrieval_accelerator,
  retrieval_peers,
  retrieval_problem,
)
from benchmarks.speed.retrieval_problem import Problem
from dsh_jax.retrieval import evaluation, histogram, neighbors

_OUTPUT = flags.DEFINE_string("output", None, "Markdown file to write.")
_REPEATS = flags.DEFINE_integer("repeats", 5, "Turns per contender.")
_ONE_CORE = flags.DEFINE_bool(
  "one_core",
  False,
  "Use one core and count processor seconds: fair where others keep the machine"
  " busy.",
)
_QUICK = flags.DEFINE_bool("quick", False, "Tiny sizes, to check that it runs.")
_MEMORY_ONLY = flags.DEFINE_string(
  "memory_only", None, "Q,N,K: print the peak memory of one evaluation."
)

SIZES = (
  (1000, 20000, 64),
  (2100, 193734, 64),
  (2100, 193734, 128),
  (1000, 1000000, 64),
)
QUICK_SIZES = ((20, 6000, 64),)
# The usual code takes queries one by one, so a part represents all.
PLAIN_QUERIES = 40
CUT_OFF = 5000


def run_turns(
  contenders: Mapping[str, Callable[[], object] | None],
  repeats: int,
  clock: Callable[[], float] = time.perf_counter,
) -> dict[str, np.ndarray]:
  """Time contenders in turns, so that a busy machine slows all alike.

  Args:
    contenders: name -> function; None is left out.
    repeats: Turns; one more, before them, warms up and is not counted.
    clock: Returns seconds.

  Returns:
    name -> seconds float64 [repeats].
  """
  seconds = {name: [] for name, call in contenders.items() if call}
  for turn in range(repeats + 1):
    for name in seconds:
      start = clock()
      contenders[name]()
      if turn:
        seconds[name].append(clock() - start)
  return {name: np.array(values) for name, values in seconds.items()}


def _clock() -> Callable[[], float]:
  return time.process_time if _ONE_CORE.value else time.perf_counter


def ratio(seconds: Mapping[str, np.ndarray], slow: str, fast: str) -> str:
  """Return the ratio of the best times and the median over turns, as text."""
  if slow not in seconds:
    return "not installed"
  best = seconds[slow].min() / seconds[fast].min()
  median = np.median(seconds[slow] / seconds[fast])
  return f"{best:.1f} (median {median:.1f})"


def evaluate_problem(problem: Problem) -> dict:
  """Compute all default metrics, tie modes and chance."""
  return evaluation.evaluate_codes(
    problem.queries,
    problem.database,
    problem.query_labels,
    problem.database_labels,
    problem.num_bits,
  )


def contenders_of(problem: Problem) -> dict[str, Callable[[], object] | None]:
  """List what is timed on one problem."""
  arguments = (
    problem.queries,
    problem.database,
    problem.query_labels,
    problem.database_labels,
    problem.num_bits,
  )
  hist = histogram.joint_histogram(*arguments)
  query_signs = retrieval_peers.signs(problem.queries, problem.num_bits)
  database_signs = retrieval_peers.signs(problem.database, problem.num_bits)
  part = slice(PLAIN_QUERIES)
  database_labels = problem.database_labels.astype(np.float32)
  query_labels = problem.query_labels.astype(np.float32)
  calls = {
    "evaluation": lambda: evaluate_problem(problem),
    "histogram": lambda: histogram.joint_histogram(*arguments),
    "metrics": lambda: evaluation.score(hist),
    "plain": lambda: retrieval_peers.plain_map(
      query_signs[part],
      database_signs,
      query_labels[part],
      database_labels,
      CUT_OFF,
    ),
    "popcount": lambda: retrieval_peers.distances_alone(
      problem.queries, problem.database
    ),
    "product": lambda: retrieval_peers.distances_by_product(
      query_signs, database_signs
    ),
  }
  for k in (100, CUT_OFF):
    calls[f"top {k}"] = lambda k=k: neighbors.top_k(
      problem.queries, problem.database, k
    )
    for name, use_heap in (("heap", True), ("counting", False)):
      calls[f"FAISS {k} {name}"] = retrieval_peers.faiss_search(
        problem.queries, problem.database, k, use_heap
      )
  return calls


_ROWS = (
  ("evaluation", "Evaluation: 7 metrics, 3 tie modes, chance"),
  ("histogram", "- of it the joint histogram"),
  ("metrics", "- of it the metrics"),
  ("plain", "Plain NumPy argsort, map@5000 alone, any tie order"),
  ("FAISS 5000 counting", "FAISS IndexBinaryFlat k=5000, counting"),
  ("FAISS 5000 heap", "FAISS IndexBinaryFlat k=5000, heap"),
  ("top 5000", "neighbors.top_k k=5000"),
  ("FAISS 100 counting", "FAISS IndexBinaryFlat k=100, counting"),
  ("FAISS 100 heap", "FAISS IndexBinaryFlat k=100, heap"),
  ("top 100", "neighbors.top_k k=100"),
  ("popcount", "Distances alone, XOR and bit count"),
  ("product", "Distances alone, float32 matrix product"),
)


def report_size(problem: Problem, repeats: int) -> list[str]:
  """Time one problem and return the section about it."""
  seconds = run_turns(contenders_of(problem), repeats, _clock())
  seconds["plain"] *= len(problem.queries) / min(
    PLAIN_QUERIES, len(problem.queries)
  )
  lines = [
    f"## {len(problem.queries):,} x {len(problem.database):,},"
    f" {problem.num_bits} bits, {retrieval_problem.NUM_CLASSES} labels",
    "",
    "| what | best s | median s | G pairs/s |",
    "| --- | ---: | ---: | ---: |",
  ]
  for name, text in _ROWS:
    if name in seconds:
      best = seconds[name].min()
      lines.append(
        f"| {text} | {best:.3f} | {np.median(seconds[name]):.3f} |"
        f" {problem.num_pairs / best / 1e9:.2f} |"
      )
  for k in (100, CUT_OFF):
    faiss = [n for n in seconds if n.startswith(f"FAISS {k} ")]
    if faiss:
      fastest = min(faiss, key=lambda n: seconds[n].min())
      seconds[f"FAISS {k}"] = seconds[fastest]
  lines += [
    "",
    "How many times faster (ratio of best times, median over turns):"
    f" evaluation than plain NumPy {ratio(seconds, 'plain', 'evaluation')};"
    " than the faster FAISS search of 5,000"
    f" {ratio(seconds, 'FAISS 5000', 'evaluation')}; top_k than the faster"
    f" FAISS search at k=100 {ratio(seconds, 'FAISS 100', 'top 100')}, at"
    f" k=5,000 {ratio(seconds, 'FAISS 5000', 'top 5000')}.",
    "",
  ]
  return lines


def report_growth(sizes: tuple[int, ...], repeats: int) -> list[str]:
  """Time growing databases and return the section about the slope."""
  rows = []
  for num_items in sizes:
    problem = retrieval_problem.make_problem(500, num_items, 64)
    seconds = run_turns(
      {
        "evaluation": lambda problem=problem: evaluate_problem(problem),
        "top": lambda problem=problem: neighbors.top_k(
          problem.queries, problem.database, 100
        ),
      },
      repeats,
      _clock(),
    )
    rows.append([seconds["evaluation"].min(), seconds["top"].min()])
  slopes = [
    np.polyfit(np.log(sizes), np.log(column), 1)[0]
    for column in np.array(rows).T
  ]
  lines = [
    "## Growth with the database, 500 queries, 64 bits",
    "",
    "| items | evaluation s | top_k k=100 s |",
    "| ---: | ---: | ---: |",
  ]
  for num_items, row in zip(sizes, rows, strict=True):
    lines.append(f"| {num_items:,} | {row[0]:.3f} | {row[1]:.3f} |")
  return [
    *lines,
    "",
    f"Slope of log seconds over log items: {slopes[0]:.2f} and"
    f" {slopes[1]:.2f} (1 is proportional; the metrics do not grow).",
    "",
  ]


def _status_kib(name: str) -> int:
  """Read a size of this process, such as VmRSS, from Linux."""
  for line in pathlib.Path("/proc/self/status").read_text().splitlines():
    if line.startswith(f"{name}:"):
      return int(line.split()[1])
  raise KeyError(name)


def print_peak_memory(size: str) -> None:
  """Print the MB that an evaluation adds to the memory of this process."""
  problem = retrieval_problem.make_problem(*(int(x) for x in size.split(",")))
  small = retrieval_problem.make_problem(20, 2000, problem.num_bits)
  evaluate_problem(small)  # Compiled code and libraries do not count.
  pathlib.Path("/proc/self/clear_refs").write_text("5")  # Resets the peak.
  before = _status_kib("VmRSS")
  evaluate_problem(problem)
  print((_status_kib("VmHWM") - before) / 1024)


def report_memory(size: tuple[int, int, int]) -> list[str]:
  """Measure peak memory in a separate process; on Linux only."""
  if not pathlib.Path("/proc/self/clear_refs").exists():
    return ["Peak memory: reported on Linux only.", ""]
  done = subprocess.run(
    [
      *(sys.executable, "-m", "benchmarks.speed.retrieval_speed"),
      f"--memory_only={','.join(map(str, size))}",
    ],
    capture_output=True,
    text=True,
    check=True,
  )
  return [
    f"Peak memory of the evaluation of {size[0]:,} x {size[1]:,} at"
    f" {size[2]} bits beyond its input, {float(done.stdout):.0f} MB.",
    "",
  ]


def describe_run(repeats: int) -> list[str]:
  """Return a description of hardware, versions and conditions."""
  names = ["jax", "numpy", "numba", "faiss-cpu"]
  versions = []
  for name in names:
    try:
      versions.append(f"{name} {metadata.version(name)}")
    except metadata.PackageNotFoundError:
      versions.append(f"no {name}")
  load = pathlib.Path("/proc/loadavg")
  load = load.read_text().split()[0] if load.exists() else "unknown"
  return [
    "# Speed of evaluation and search",
    "",
    f"`python -m benchmarks.speed.retrieval_speed`, {datetime.date.today()},"
    f" {hardware.describe()}; {jax.default_backend()}; Python"
    f" {platform.python_version()}, {', '.join(versions)}; load of the machine"
    f" at the start {load}.",
    "",
    f"Contenders take turns, {repeats} each after one to warm up. Random codes"
    " that follow random labels. The plain NumPy code is a stand-in for what"
    " released hashing code does, written for this benchmark; it was timed on"
    f" {PLAIN_QUERIES} queries and scaled to all. "
    + (
      "One core for all of them, and seconds of the processor, which others on"
      " the machine hardly change."
      if _ONE_CORE.value
      else "All use all cores."
    ),
    "",
  ]


def main(argv: list[str]) -> None:
  """Run everything and print it."""
  del argv
  logging.set_verbosity(logging.WARNING)  # Libraries log what they load.
  if _MEMORY_ONLY.value:
    print_peak_memory(_MEMORY_ONLY.value)
    return
  if _ONE_CORE.value:
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
  quick = _QUICK.value
  sizes = QUICK_SIZES if quick else SIZES
  growth = (1000, 2000) if quick else tuple(25000 * 4**i for i in range(4))
  lines = describe_run(_REPEATS.value)
  for size in sizes:
    lines += report_size(retrieval_problem.make_problem(*size), _REPEATS.value)
    print(f"{size} done", file=sys.stderr)
  lines += report_memory(sizes[min(1, len(sizes) - 1)])
  lines += report_growth(growth, _REPEATS.value)
  lines += retrieval_accelerator.report(quick)
  text = "\n".join(lines)
  print(text)
  if _OUTPUT.value:
    pathlib.Path(_OUTPUT.value).write_text(text.rstrip() + "\n")


if __name__ == "__main__":
  app.run(main)
