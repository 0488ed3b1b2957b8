"""The speed table of the losses, at a tiny size."""

from benchmarks import hardware
from benchmarks.speed import loss_speed


def test_measures_and_renders():
  cells = {"4": loss_speed.measure("idhn", 4)}
  assert all(value > 0 for value in cells["4"].values())
  results = {
    "about": hardware.about(),
    "batch_sizes": [4],
    "losses": {"idhn": cells},
  }
  lines = loss_speed.render(results).splitlines()
  table = [line for line in lines if line.startswith("|")]
  assert len(table) == 3 and table[2].startswith("| idhn |")
  assert len({line.count("|") for line in table[:2]}) == 1
