"""Writes the report of one or several finished runs.

python -m dsh_jax.report --workdir=runs/idhn48
python -m dsh_jax.report --workdir=runs/idhn48 --workdir=runs/dsrh48
"""

from collections.abc import Sequence

from dsh_jax import command, report


def main(argv: Sequence[str]) -> None:
  """Runs what the flags say.

  Args:
    argv: The flags, without the name of the command.

  Raises:
    UserError: A flag is wrong, or as `page.write`.
  """
  parser = command.Parser("dsh_jax.report", __doc__)
  parser.add_argument(
    "--workdir",
    action="append",
    required=True,
    metavar="RUN",
    help="Folder of a finished run; give it several times to compare runs.",
  )
  parser.add_argument(
    "--out",
    default="",
    metavar="FILE",
    help="The HTML file. Default: report.html in the folder of the run"
    " (comparison.html in the first of several).",
  )
  flags = parser.parse_args(argv)
  print(f"The report is {report.write(flags.workdir, flags.out)}.")


def run() -> None:
  """The console script."""
  command.run(main)


if __name__ == "__main__":
  run()
