"""Rows of train_speed as text."""

from typing import Any

Row = dict[str, Any]


def _name(row: Row) -> str:
  cell = row["cell"]
  extras = [
    text
    for text, wanted in (
      (f"in {cell['accumulate']} parts", cell["accumulate"] > 1),
      ("activations computed again", cell["remat"]),
      (f"{cell['steps_per_dispatch']} steps a call",
       cell["steps_per_dispatch"] > 1),
    )
    if wanted
  ]  # fmt: skip
  return ", ".join(
    [
      f"{cell['backbone']} {cell['image_size']}",
      f"B={cell['batch_size']}",
      cell["dtype"],
      f"{cell['parallel']} x {row['num_devices']}",
      cell["method"],
      *extras,
    ]
  )


def line(row: Row) -> str:
  """Return one line for the terminal."""
  step = row["steps"]["device"]
  text = (
    f"{_name(row)}: {step['images_per_sec']:.1f} images/s, step"
    f" {_milliseconds(step['median_secs'])} ms"
  )
  if "torch" in row["steps"]:
    other = row["steps"]["torch"]
    text += (
      f"; PyTorch {other['images_per_sec']:.1f} images/s, ratio"
      f" {_ratio(row, 'median_secs'):.2f}"
    )
  return text


def render(rows: list[Row]) -> str:
  """Return all rows as Markdown, grouped by hardware and versions."""
  lines = [
    "# Speed of training",
    "",
    "A step is crop, flip and normalisation of uint8 images, network, loss,"
    " gradient and AdamW. Median over the steps of several turns; device:"
    " images lie on the device; host: copied in the way of the step; real:"
    " read from a file by the prefetching thread. Turn: mean step of a few in a"
    " row. cpu: seconds of all threads"
    " of the process, which other work on the machine disturbs less than the"
    " clock. FLOP: of convolutions and matrix products, three times those of"
    " the forward pass. Loss, optimizer and augmentation: each alone, as a"
    " share of a step of the fastest turn; they overlap inside of it. PyTorch:"
    " the same network and loss, images float32 on the device and normalised"
    " already; its steps took turns with ours.",
    "",
  ]
  grouped: dict[str, list[Row]] = {}
  for row in rows:
    about = row["about"]
    torch = row.get("torch")
    versions = about["versions"] + (
      f", torch {torch['torch']}" if torch else ""
    )
    title = (
      f"{about['hardware']} ({about['platform']}); {versions}; commit"
      f" {about['commit']}; {about['date']}"
    )
    grouped.setdefault(title, []).append(row)
  for title, some in grouped.items():
    lines += [title, "", *_steps(some), "", *_parts(some), ""]
    if any("torch" in row["steps"] for row in some):
      lines += [*_compared(some), ""]
  return "\n".join(lines)


def _table(heads, rows):
  lines = [heads, ["---"] * len(heads), *rows]
  return ["| " + " | ".join(line) + " |" for line in lines]


def _steps(rows):
  heads = [
    "what",
    "images/s",
    "step ms",
    "fastest to slowest turn ms",
    "cpu ms",
  ]
  heads += ["host ms", "real ms", "TFLOP/s", "of matrix product", "load"]
  cells = []
  for row in rows:
    step = row["steps"]["device"]
    speed = row["flop"] / step["median_secs"]
    cells.append(
      [
        _name(row),
        f"{step['images_per_sec']:.1f}",
        _milliseconds(step["median_secs"]),
        f"{_milliseconds(step['fastest_secs'])} to"
        f" {_milliseconds(step['slowest_secs'])}",
        _milliseconds(step["cpu_secs"]),
        *(
          _milliseconds(row["steps"][name]["median_secs"])
          if name in row["steps"]
          else ""
          for name in ("host", "real")
        ),
        f"{speed / 1e12:.3g}",
        f"{speed / row['peak_flop_per_sec']:.0%}",
        row["about"]["load_average"],
      ]
    )
  return _table(heads, cells)


def _parts(rows):
  heads = ["what", "loss", "optimizer", "augmentation", "reading a batch ms"]
  heads += ["compile s", "state and batch MB", "temporary MB"]
  cells = []
  for row in rows:
    step, parts = row["steps"]["device"]["fastest_secs"], row["part_secs"]
    cells.append(
      [
        _name(row),
        *(
          f"{_milliseconds(parts[name])} ms ({parts[name] / step:.1%})"
          for name in ("loss", "optimizer", "augmentation")
        ),
        _milliseconds(parts["read"]),
        f"{row['compile_secs']:.1f}",
        f"{row['argument_bytes'] / 1e6:.0f}",
        f"{row['temporary_bytes'] / 1e6:.0f}",
      ]
    )
  return _table(heads, cells)


def _compared(rows):
  heads = ["what", "ours images/s", "PyTorch images/s", "ratio of medians"]
  heads += ["of fastest turns", "of cpu seconds"]
  return _table(
    heads,
    [
      [
        _name(row),
        f"{row['steps']['device']['images_per_sec']:.1f}",
        f"{row['steps']['torch']['images_per_sec']:.1f}",
        *(
          f"{_ratio(row, field):.2f}"
          for field in ("median_secs", "fastest_secs", "cpu_secs")
        ),
      ]
      for row in rows
      if "torch" in row["steps"]
    ],
  )


def _ratio(row, field):
  """How many times faster than PyTorch."""
  return row["steps"]["torch"][field] / row["steps"]["device"][field]


def _milliseconds(secs):
  return f"{1e3 * secs:.3g}" if secs < 0.1 else f"{1e3 * secs:,.0f}"
