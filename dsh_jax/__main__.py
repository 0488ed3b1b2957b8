"""Lists and starts the commands: python -m dsh_jax COMMAND --FLAG=VALUE ..."""

import importlib
import sys

from dsh_jax import __version__, late

COMMANDS = {
  "train": ("dsh_jax.main", "train and score a method; --config=FILE"),
  "report": ("dsh_jax.apps.compare", "write the HTML report of runs"),
  "runs": ("dsh_jax.apps.list_runs", "list runs with their scores"),
  "features": ("dsh_jax.apps.features", "write the features of images"),
  "encode": ("dsh_jax.apps.encode", "encode a folder or list of images"),
  "edit": ("dsh_jax.apps.edit", "add items to an index, or remove some"),
  "search": ("dsh_jax.apps.search", "find the images nearest to an image"),
  "serve": ("dsh_jax.apps.serve", "serve a search page on this machine"),
  "export": ("dsh_jax.apps.export", "write encoder and codes for elsewhere"),
  "evaluate": ("dsh_jax.apps.evaluate", "score the codes of any program"),
  "cache": ("dsh_jax.apps.cache", "list prepared data, and remove some"),
  "weights": ("dsh_jax.apps.weights", "show what a file of weights fits"),
}


def run() -> None:
  """The console script `dsh_jax`."""
  name = sys.argv[1] if len(sys.argv) > 1 else "--help"
  if name in COMMANDS:
    del sys.argv[1]
    if set(sys.argv) & {"-h", "-help", "--help", "--helpfull"}:
      late.install()  # Flags are shown without the seconds that JAX takes.
    importlib.import_module(COMMANDS[name][0]).run()
    return
  if name == "--version":
    print(__version__)
    return
  listed = "\n".join(f"  {n:<10}{what}" for n, (_, what) in COMMANDS.items())
  usage = (
    f"dsh_jax {__version__}\n\npython -m dsh_jax COMMAND --FLAG=VALUE ...\n"
    f"{listed}\n\npython -m dsh_jax COMMAND --help shows its flags."
  )
  if name in ("--help", "-h", "help"):
    print(usage)
    return
  print(f"dsh_jax: Unknown command {name!r}.\n\n{usage}", file=sys.stderr)
  sys.exit(2)


if __name__ == "__main__":
  run()
