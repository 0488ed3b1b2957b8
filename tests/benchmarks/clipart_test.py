"""Labels of drawings from the folders that they lie in."""

import csv

from benchmarks import clipart


def test_folders_are_labels_and_numbers_make_groups(tmp_path):
  folder = tmp_path / "png"
  for name, count in (("animals/birds", 20), ("animals", 3), ("shapes", 5)):
    (folder / name).mkdir(parents=True, exist_ok=True)
    for number in range(count):
      (folder / name / f"thing_{number:02d}.png").touch()
  (folder / "shapes" / "stars").mkdir()
  (folder / "shapes" / "stars" / "a.png").touch()
  (folder / "animals" / "link.png").symlink_to("thing_00.png")
  clipart.main([f"--folder={folder}", f"--out={tmp_path / 'x.csv'}"])
  with open(tmp_path / "x.csv", newline="") as file:
    rows = list(csv.DictReader(file))
  assert len(rows) == 23
  assert {row["labels"] for row in rows} == {"animals", "animals;birds"}
  assert {row["group"] for row in rows} == {
    "animals/thing",
    "animals/birds/thing",
  }
