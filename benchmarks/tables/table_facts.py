"""How a table was made: settings, machine, seconds, versions, checksums."""

from collections.abc import Iterator

from benchmarks.tables import cells, rows, table_lines


def made(table: cells.Table, contents: rows.Contents) -> Iterator[str]:
  """Yield the parts of table.md about how the table was made."""
  results = [result for row in contents.rows for result in row.results]
  infos = contents.cell_infos
  facts = [("config", f"`{table.config}`")]
  if table.arguments:
    facts.append(("config argument", f"`{table.arguments}`"))
  if table.overrides:
    facts.append(("for all cells", f"`{' '.join(table.overrides)}`"))
  for method, overrides in table.method_overrides.items():
    facts.append((f"for {method}", f"`{' '.join(overrides)}`"))
  for variant in dict.fromkeys(c.variant for c in table.wanted if c.variant):
    used = next(c.overrides for c in table.wanted if c.variant == variant)
    facts.append((f"for {variant.replace('_', ' ')}", f"`{' '.join(used)}`"))
  for title, name in (
    ("data set", "dataset"),
    ("protocol", "protocol"),
    ("backbone", "backbone"),
    ("training set in database", "train_in_database"),
    ("epoch chosen by", "select"),
    ("device", "device"),
  ):
    facts.append((title, _join(r.get(name) for r in results)))
  facts.append(
    (
      "queries, database, queries without a relevant item",
      _join(_counts(r) for r in results),
    )
  )
  facts.append(
    ("machine", _join(info.get("hardware") for info in infos)),
  )
  facts.append(("cores of a run", _join(info.get("cores") for info in infos)))
  facts.append(("commit", _join(info.get("commit") for info in infos)))
  secs = [info["seconds"] for info in infos if "seconds" in info]
  if secs:
    facts.append(
      (
        "seconds of a run",
        f"{min(secs):.0f} to {max(secs):.0f}, {sum(secs) / 3600:.1f} h in all",
      )
    )
  trained = [row for row in contents.rows if row.training_secs > 0]
  if trained:
    slow = max(trained, key=lambda row: row.training_secs)
    fast = min(trained, key=lambda row: row.training_secs)
    facts.append(
      (
        "seconds of training",
        f"{fast.training_secs:.0f} ({fast.method}) to"
        f" {slow.training_secs:.0f} ({slow.method})",
      )
    )
  facts.append(("versions", _join(_versions(r) for r in results)))
  facts += sorted(
    {
      (f"SHA-256 of {split}", f"`{value}`")
      for result in results
      for split, value in result.get("split_sha256", {}).items()
    }
  )
  yield "## How it was made\n\n" + table_lines.grid_lines(
    ["what", "value"], [fact for fact in facts if fact[1]]
  )
  if table.notes:
    yield "\n\n".join(table.notes)


def _join(values):
  return "; ".join(table_lines.distinct(values))


def _counts(result):
  counts = result.get("counts", {})
  names = ("queries", "database", "queries_without_relevant")
  return ", ".join(str(counts.get(name, "?")) for name in names)


def _versions(result):
  return ", ".join(f"{k} {v}" for k, v in result.get("versions", {}).items())
