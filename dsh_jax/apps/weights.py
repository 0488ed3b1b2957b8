"""Shows which backbone a weights file fits, without training."""

from collections.abc import Sequence

from dsh_jax import errors, models
from dsh_jax.apps import command, commands
from dsh_jax.models import pretrained

_MOST_LISTED = 10


def main(argv: Sequence[str]) -> int:
  """Run the command; return 0 if the file fits, else 1."""
  given = commands.parse("weights", argv)
  command.check_choice("--backbone", given.backbone, models.BACKBONES)
  try:
    path = pretrained.find(given.file)
    tensors, plan = pretrained.best_plan(path, given.backbone)
  except errors.UserError as error:  # It names the field of a training.
    text = str(error).replace("config.model.pretrained", "--file")
    raise errors.UserError(text) from error
  num_values = sum(tensors[name].size for name in plan.sources.values())
  print(f"file        {path}: {len(tensors)} tensors")
  print(f"backbone    {plan.backbone}")
  print(f"loaded      {len(plan.sources)} tensors, {num_values:,} values")
  for title, names in (
    ("missing", plan.missing),
    ("mismatched", plan.mismatched),
    ("left over", plan.left_over),
    ("ignored", plan.ignored),
  ):
    print(f"{title:<11} {len(names)}")
    for name in names[:_MOST_LISTED]:
      print(f"            {name}")
    if len(names) > _MOST_LISTED:
      print(f"            and {len(names) - _MOST_LISTED} more")
  expected = pretrained.preprocessing(path, plan.backbone)
  print(f"mean        {' '.join(f'{x:.4f}' for x in expected.mean)}")
  print(f"std         {' '.join(f'{x:.4f}' for x in expected.std)}")
  print("It fits." if plan.fits else "It does not fit.")
  return 0 if plan.fits else 1
