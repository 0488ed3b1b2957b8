"""The figure of code diagnostics during training."""

from collections.abc import Sequence

import matplotlib.figure

from dsh_jax.report import drawing
from dsh_jax.report.run_files import RunFiles

# Logged by `runs.diagnostics`; the first has its own scale.
_RANK = "effective_rank"
_SHARES = (
  "bit_imbalance",
  "bit_entropy",
  "label_count_correlation",
  "zero_distance_pairs",
  "quantization_error",
)


def of_runs(runs: Sequence[RunFiles]) -> list[drawing.Figure]:
  """Return the figure of a single run that logged diagnostics, else []."""
  if len(runs) > 1 or not runs[0].series(f"codes/{_RANK}")[0]:
    return []
  run = runs[0]

  def draw(figure: matplotlib.figure.Figure) -> None:
    ranks, shares = figure.subplots(2, 1, sharex=True)
    epochs, values = run.series(f"codes/{_RANK}")
    ranks.plot(epochs, values, "o-", ms=4)
    ranks.set_ylabel("effective rank")
    ranks.set_ylim(0, 1.15 * max(values) or 1)
    for place, name in enumerate(_SHARES):
      shares.plot(
        *run.series(f"codes/{name}"),
        "o-",
        ms=4,
        color=drawing.colour(place),
        label=name.replace("_", " "),
      )
    shares.set_xlabel("epoch")
    shares.set_ylim(0, None)
    drawing.legend(shares, fontsize=7)

  return [
    drawing.render(
      "diagnostics",
      "Code statistics",
      "At each validation, of a sample of its queries. A rank near 1 with a"
      " high label count correlation: codes follow the number of labels. Many"
      " pairs at distance 0, or bits of low entropy: codes collapse.",
      draw,
      size=(5.0, 4.4),
    )
  ]
