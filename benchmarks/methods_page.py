"""Writes docs/methods.md from docstrings, presets and default settings.

python -m benchmarks.methods_page

A test compares the page with what `page` returns.
"""

import inspect
import pathlib
import re
import sys
from collections.abc import Iterator, Mapping
from typing import Any

from configs import methods
from dsh_jax import losses
from dsh_jax.config import fields

PATH = pathlib.Path(__file__).parents[1] / "docs" / "methods.md"

_HEAD = """\
# Methods

This page is written by `python -m benchmarks.methods_page` from
`configs/methods.py` and the docstrings of `dsh_jax/losses`. Do not edit it by
hand.

A *preset* is what `method=NAME` selects. It names a *loss* and may change
other fields of the config. `--config.loss.SETTING=VALUE` changes a setting.

Letters: B batch, K bits, L label classes; u is a logit, h the relaxed code
after the activation, b = [h > 0] the hash code. The activations are
{activations}.
A bit is the sign of its logit under all of them.

Values and gradients are tested against plain NumPy loops and finite
differences. That shows that the formula is computed, not that a score of the
paper is reached: see [data.md](data.md) for the tables of papers.

## Presets

| preset | loss | source |
|---|---|---|
{presets}

## What presets change beside the name of the loss

```text
{overrides}
```
"""


def page() -> str:
  """Returns the text of the page."""
  presets = [
    f"| `{name}` | [{preset['loss']['name']}](#{preset['loss']['name']}) |"
    f" {preset.get('source', '')} |"
    for name, preset in methods.METHODS.items()
  ]
  overrides = [
    "\n".join([name, *(f"  {field} = {value}" for field, value in changed)])
    for name, preset in methods.METHODS.items()
    if (changed := list(_overrides(preset)))
  ]
  names = [f"`{name}`" for name in losses.activations.ACTIVATIONS]
  head = _HEAD.format(
    activations=f"{', '.join(names[:-1])} and {names[-1]}",
    presets="\n".join(presets),
    overrides="\n\n".join(overrides),
  )
  return "\n".join([head, *(_section(name) for name in losses.LOSSES)])


def _overrides(preset: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
  """Yields (field, value as JSON has it) of a preset."""
  changed = {key: value for key, value in preset.items() if key != "source"}
  for field, value in fields.flatten(changed).items():
    if field != "loss.name":
      yield field, repr(value).replace("'", '"')


def _section(name: str) -> str:
  """Returns the section of a loss: summary, formulas, source, settings."""
  factory = losses.LOSSES[name]
  summary = inspect.getdoc(sys.modules[factory.__module__]).split("\n")[0]
  doc, _, arguments = inspect.getdoc(factory).partition("\nArgs:\n")
  # Its first line says only that it makes the loss.
  body = doc.partition("\n\n")[2].strip()
  body = re.sub(
    r"\n*^(Reduction|Source|Differences|Limits):",
    r"\n\n**\1:**",
    body,
    flags=re.M,
  )
  body = "\n\n".join(
    f"```text\n{part}\n```" if part.startswith(" ") else part
    for part in body.split("\n\n")
  )
  meanings = dict(
    re.findall(r"^  (\w+): (.*(?:\n    .*)*)", arguments, flags=re.M)
  )
  rows = []
  for setting, default in losses.default_settings(name).items():
    meaning = " ".join(meanings[setting].split()).replace("|", "\\|")
    default = f'"{default}"' if isinstance(default, str) else default
    rows.append(f"| `{setting}` | `{default}` | {meaning} |")
  if rows:
    rows = ["| setting | default | meaning |", "|---|---|---|", *rows]
  else:
    rows = ["It has no settings."]
  return "\n".join([f"## {name}", "", summary, "", body, "", *rows, ""])


if __name__ == "__main__":
  PATH.write_text(page(), encoding="utf-8")
