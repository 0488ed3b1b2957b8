"""Writes the report of one or several finished runs.

python -m dsh_jax report --workdir=runs/idhn48
python -m dsh_jax report --workdir=runs/idhn48 --workdir=runs/dsrh48
"""

from collections.abc import Sequence

from absl import flags

from dsh_jax import report
from dsh_jax.apps import command


def _define_flags(values: flags.FlagValues) -> None:
  flags.DEFINE_multi_string(
    "workdir",
    None,
    "Folder of a finished run; repeat it to compare runs.",
    required=True,
    flag_values=values,
  )
  flags.DEFINE_string(
    "out",
    "",
    "The HTML file. Default: report.html in the folder of the run"
    " (comparison.html in the first of several).",
    flag_values=values,
  )


def main(argv: Sequence[str]) -> None:
  """Run the command."""
  given = command.parse(argv, _define_flags, __doc__)
  print(f"The report is {report.write(given.workdir, given.out)}.")


def run() -> None:
  """Run the command and exit."""
  command.run(main)


if __name__ == "__main__":
  run()
