"""All of orbax: what survives a kill, and how it is found again."""

import hashlib
import json
import logging
from typing import Any, Self

import jax
import numpy as np
import orbax.checkpoint as ocp
from absl import logging as absl_logging
from etils import epath

from dsh_jax import errors


class Checkpoints:
  """Checkpoints of a run: a tree of arrays and a small dict of metadata.

  A checkpoint appears under its final name only when it is complete, and
  carries the SHA-256 of its contents, so that a damaged one is noticed.
  """

  def __init__(self, workdir: str, keep: int = 3, read_only: bool = False):
    """Opens `workdir`/checkpoints.

    Args:
      workdir: The folder of the run, a path or an address such as gs://BUCKET.
      keep: How many checkpoints to keep, the newest; at least 1.
      read_only: Leave the folder as it is, for a run that may be under way.
        Else it is created, and what a killed run left there half-written is
        removed.

    Raises:
      StorageError: The folder cannot be written.
    """
    self._path = epath.Path(workdir) / "checkpoints"
    if "://" not in str(workdir):
      self._path = epath.Path(self._path.absolute())
    if read_only:
      options = ocp.CheckpointManagerOptions(read_only=True)
    else:
      options = ocp.CheckpointManagerOptions(
        max_to_keep=keep,
        enable_async_checkpointing=False,
        cleanup_tmp_directories=True,
      )
    try:
      self._manager = ocp.CheckpointManager(self._path, options=options)
    except OSError as error:
      raise self._storage_error(error) from error

  def __enter__(self) -> Self:
    return self

  def __exit__(self, *exception) -> None:
    self.close()

  def close(self) -> None:
    """Releases orbax's threads."""
    self._manager.close()

  def save(self, step: int, tree: Any, metadata: dict[str, Any]) -> None:
    """Writes host arrays and JSON metadata; returns when both are on disk.

    A checkpoint of the same step, which was damaged, is replaced.

    Args:
      step: Steps taken; names the checkpoint.
      tree: Nested dictionaries and dataclasses of host arrays.
      metadata: What JSON can hold, but for the keys "sha256" and
        "metadata_sha256".

    Raises:
      StorageError: It cannot be written; those before it are whole.
    """
    tree = jax.tree.map(np.asarray, tree)
    verbosity = absl_logging.get_verbosity()
    # Orbax's threads log with their traces what is raised here as well.
    absl_logging.set_verbosity(absl_logging.FATAL)
    try:
      if step in self._manager.all_steps():
        self._manager.delete(step)
      self._manager.save(
        step,
        args=ocp.args.Composite(
          tree=ocp.args.StandardSave(tree),
          run_metadata=ocp.args.JsonSave(
            {
              **metadata,
              "sha256": digest(tree),
              "metadata_sha256": _digest_json(metadata),
            }
          ),
        ),
        force=True,
      )
    except Exception as error:  # Whatever orbax makes of a full disk.
      raise self._storage_error(error, step) from error
    finally:
      absl_logging.set_verbosity(verbosity)

  def restore(self, like: Any) -> tuple[Any, dict[str, Any]] | None:
    """Returns the newest undamaged checkpoint; warns of damaged ones.

    Args:
      like: A tree of host arrays with the structure, shapes and types to
        restore.

    Returns:
      (tree of host arrays, metadata), or None if there is no checkpoint at all.

    Raises:
      UserError: There are checkpoints, and all are damaged.
    """
    like = jax.tree.map(np.asarray, like)
    steps = sorted(self._manager.all_steps(), reverse=True)
    for step in steps:
      try:
        return self._read(step, like)
      except Exception as error:  # Whatever a damaged file may cause.
        logging.warning(
          "Checkpoint %s is damaged and skipped: %s",
          self._path / str(step),
          errors.describe(error),
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
        tree=ocp.args.StandardRestore(like), run_metadata=ocp.args.JsonRestore()
      ),
    )
    tree = jax.tree.map(np.asarray, read.tree)
    metadata = dict(read.run_metadata)
    of_tree, of_facts = metadata.pop("sha256"), metadata.pop("metadata_sha256")
    if (digest(tree), _digest_json(metadata)) != (of_tree, of_facts):
      raise ValueError("it does not have the recorded SHA-256")
    return tree, metadata

  def _storage_error(self, error, step=""):
    return errors.StorageError(
      f"Cannot write the checkpoint {self._path / str(step)}:"
      f" {errors.describe(error)}. Earlier checkpoints are whole; free space"
      " or mend the folder, then give the same command again."
    )


def digest(tree: Any) -> str:
  """Returns the SHA-256 over names, types, shapes and bytes of all arrays.

  Args:
    tree: Of host arrays.

  Returns:
    64 hexadecimal digits.
  """
  sha = hashlib.sha256()
  for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
    leaf = np.ascontiguousarray(leaf)
    head = [jax.tree_util.keystr(path), str(leaf.dtype), list(leaf.shape)]
    sha.update(json.dumps(head).encode())
    sha.update(leaf.tobytes())
  return sha.hexdigest()


def _digest_json(metadata):
  return hashlib.sha256(
    json.dumps(metadata, sort_keys=True).encode()
  ).hexdigest()
