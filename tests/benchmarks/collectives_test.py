"""The command that lists what simulated devices send each other."""

import pathlib
import subprocess
import sys

import pytest


@pytest.mark.long
def test_lists_the_collectives_of_both_ways_to_run():
  done = subprocess.run(
    [
      *(sys.executable, "-m", "benchmarks.speed.collectives"),
      *("--backbone=tiny", "--devices=2", "--image_size=48"),
    ],
    cwd=pathlib.Path(__file__).parents[2],
    capture_output=True,
    text=True,
    timeout=200,
  )
  assert done.returncode == 0, done.stderr
  rows = [line.split("|")[1:-1] for line in done.stdout.splitlines()[2:]]
  # Codes and labels of all: B (4 K + L) bytes, with K = 64 and L = 21.
  (gathered,) = (
    int(row[4].replace(",", ""))
    for row in rows
    if "pmap" in row[0] and row[2].strip() == "all-gather"
  )
  assert gathered == 8 * (4 * 64 + 21)
  assert {row[0].split()[1] for row in rows} == {"pmap", "jit"}
