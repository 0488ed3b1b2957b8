"""How often method=auto chooses one of the best methods of a split.

python -m benchmarks.speed.auto_choice --splits=10

For each config.data.seed, trains the head of every method on generated
features, chooses by validation queries as method=auto does, and scores all of
them on test queries.
"""

import dataclasses
import pathlib
import tempfile
from collections.abc import Sequence

import jax
import numpy as np
from absl import flags

from benchmarks import hardware
from benchmarks.speed import synthetic_features
from configs import features as features_config
from dsh_jax import errors, files
from dsh_jax.apps import command
from dsh_jax.config import factories
from dsh_jax.runs import choice, sweep

# Items and noise of the generator.
_SETTINGS = ((4000, 2.5), (2000, 5.0))


def _define_flags(values: flags.FlagValues) -> None:
  flags.DEFINE_integer("splits", 10, "Splits.", flag_values=values)
  flags.DEFINE_list("methods", [], "Methods; all if empty.", flag_values=values)
  flags.DEFINE_integer(
    "epochs", 0, "Epochs; 0 keeps the config's.", flag_values=values
  )
  flags.DEFINE_string(
    "out",
    "benchmarks/results/auto_choice.md",
    "The file.",
    flag_values=values,
  )


def _scores(config):
  """Return method -> scores of validation and of test queries."""
  splits = factories.load_splits(config)
  test = dataclasses.replace(
    splits, validation=splits.query, train=splits.database
  )
  scores = {}
  for name in choice.candidates(config):
    chosen = choice.with_method(config, name)
    try:
      encode = sweep.train(chosen, splits, [config.seed])
    except errors.NonFiniteError:
      continue
    scores[name] = [
      choice.score_validation(chosen, encode, part)[0]
      for part in (splits, test)
    ]
  return scores


def _compare(config):
  """Return a row of the table, and whether the choice was as good as any."""
  scores = _scores(config)
  chosen = max(scores, key=lambda name: scores[name][0].mean())
  best = max(scores, key=lambda name: scores[name][1].mean())
  means = {name: scores[name][1].mean() for name in (chosen, best)}
  test = scores[best][1]
  half_width = 1.96 * test.std() / np.sqrt(len(test))
  is_close = means[chosen] >= means[best] - half_width
  row = (
    f"| {config.data.seed} | {chosen} | {means[chosen]:.3f} | {best} |"
    f" {means[best]:.3f} ± {half_width:.3f} | {'yes' if is_close else 'no'} |"
  )
  return row, is_close, means[best] - means[chosen]


def _part(given, folder, num_items, noise):
  """Return the text of a setting."""
  path = folder / f"{num_items}.npz"
  np.savez(path, **synthetic_features.create(num_items, noise=noise))
  config = features_config.get_config("method=auto,bits=48")
  config.data.features = str(path)
  config.choice.methods = tuple(given.methods)
  config.train.num_epochs = given.epochs or config.train.num_epochs
  rows = []
  for seed in range(given.splits):
    config.data.seed = seed
    rows.append(_compare(config))
  lines, close, lost = zip(*rows, strict=True)
  return (
    f"## {num_items:,} items, noise {noise}\n\n"
    f"In {sum(close)} of {len(close)} splits the choice is within the interval"
    f" of the best; on average it is {np.mean(lost):.3f} below the best.\n\n"
    "| seed | chosen | on test queries | best there | its score | within |\n"
    "|---|---|---|---|---|---|\n" + "\n".join(lines) + "\n"
  )


def main(argv: Sequence[str]) -> None:
  """Run the command."""
  given = command.parse(argv, _define_flags, __doc__)
  about = hardware.about()
  text = (
    "# The choice of method=auto\n\nNDCG@100 of 48 bits on generated features,"
    " ± half of the 95 % interval over\ntest queries. One seed of each head.\n"
    f"{about['hardware']}; {about['versions']}; {about['date']}.\n"
  )
  with tempfile.TemporaryDirectory() as folder:
    # All splits of a setting run the same programs.
    jax.config.update("jax_compilation_cache_dir", folder)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    for setting in _SETTINGS:
      text += "\n" + _part(given, pathlib.Path(folder), *setting)
  with files.replacing(pathlib.Path(given.out)) as partial:
    partial.write_text(text, encoding="utf-8")
  print(text)


if __name__ == "__main__":
  command.run(main)
