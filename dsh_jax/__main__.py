"""Lists and starts the commands: python -m dsh_jax COMMAND --FLAG=VALUE ..."""

import importlib
import sys

from dsh_jax import __version__
from dsh_jax.apps import command
from dsh_jax.apps import commands as commands_lib


def run() -> None:
  """The console script `dsh_jax`."""
  name = sys.argv[1] if len(sys.argv) > 1 else "--help"
  commands = commands_lib.COMMANDS
  if name in commands:
    command.run(_main)
    return
  if name == "--version":
    print(__version__)
    return
  listed = "\n".join(
    f"  {name:<10}{what.help.splitlines()[0]}"
    for name, what in commands.items()
  )
  usage = (
    f"dsh_jax {__version__}\n\npython -m dsh_jax COMMAND --FLAG=VALUE ...\n"
    f"{listed}\n\npython -m dsh_jax COMMAND --help shows its flags."
  )
  if name in ("--help", "-h", "help"):
    print(usage)
    return
  print(f"dsh_jax: Unknown command {name!r}.\n\n{usage}", file=sys.stderr)
  sys.exit(2)


def _main(words):
  name, *argv = words
  if command.HELP & set(argv):  # Before the seconds that JAX takes.
    commands_lib.parse(name, argv)
  module = importlib.import_module(commands_lib.COMMANDS[name].module)
  return module.main(argv)


if __name__ == "__main__":
  run()
