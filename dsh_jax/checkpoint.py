"""All of orbax: what survives a kill, and how it is found again."""

import hashlib
import json
import logging
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from etils import epath

from dsh_jax import errors


class Checkpoints:
  """Checkpoints of a run: a tree of arrays and a small dict of facts.

  A checkpoint appears under its final name only when it is complete, and
  carries the SHA-256 of its arrays, so that a damaged one is noticed.
  """

  def __init__(self, workdir: str, keep: int = 3):
    """Opens or creates `workdir`/checkpoints, keeping the newest `keep`."""
    self._path = epath.Path(workdir) / "checkpoints"
    self._manager = ocp.CheckpointManager(
      self._path.absolute() if "://" not in str(workdir) else self._path,
      options=ocp.CheckpointManagerOptions(
        max_to_keep=keep, enable_async_checkpointing=False
      ),
    )

  def save(self, step: int, tree: Any, facts: dict[str, Any]) -> None:
    """Writes host arrays and JSON facts; returns when both are on disk."""
    tree = jax.tree.map(np.asarray, tree)
    self._manager.save(
      step,
      args=ocp.args.Composite(
        tree=ocp.args.StandardSave(tree),
        facts=ocp.args.JsonSave({**facts, "sha256": digest(tree)}),
      ),
      force=True,
    )

  def restore(self, like: Any) -> tuple[Any, dict[str, Any]] | None:
    """Returns the newest undamaged checkpoint.

    Args:
      like: A tree of host arrays with the structure to restore.

    Returns:
      (tree, facts), or None if there is no checkpoint at all.

    Raises:
      UserError: There are checkpoints, and all are damaged.
    """
    like = jax.tree.map(np.asarray, like)
    steps = sorted(self._manager.all_steps(), reverse=True)
    for step in steps:
      try:
        return self._read(step, like)
      except Exception as error:  # Whatever a damaged file may cause.
        reason = str(error).strip().splitlines() or [type(error).__name__]
        logging.warning(
          "Checkpoint %s is damaged and skipped: %s",
          self._path / str(step),
          reason[0],
        )
    if steps:
      raise errors.UserError(
        f"All checkpoints in {self._path} are damaged: {steps}. Restore one"
        " from a copy, or start afresh with another --workdir."
      )
    return None

  def _read(self, step, like):
    read = self._manager.restore(
      step,
      args=ocp.args.Composite(
        tree=ocp.args.StandardRestore(like), facts=ocp.args.JsonRestore()
      ),
    )
    tree = jax.tree.map(np.asarray, read.tree)
    facts = dict(read.facts)
    if digest(tree) != facts.pop("sha256"):
      raise ValueError("its arrays do not have the recorded SHA-256")
    return tree, facts

  def close(self) -> None:
    """Releases orbax's threads."""
    self._manager.close()


def digest(tree: Any) -> str:
  """Returns the SHA-256 over names, types, shapes and bytes of all arrays."""
  sha = hashlib.sha256()
  for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
    leaf = np.ascontiguousarray(leaf)
    head = [jax.tree_util.keystr(path), str(leaf.dtype), list(leaf.shape)]
    sha.update(json.dumps(head).encode())
    sha.update(leaf.tobytes())
  return sha.hexdigest()
