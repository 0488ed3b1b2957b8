"""Save and restore checkpoints with Orbax."""

import contextlib
import errno
import hashlib
import json
import logging
import re
import sys
import time
from collections.abc import Callable
from concurrent import futures
from typing import Any, Self

import jax
import numpy as np
import orbax.checkpoint as ocp
from absl import logging as absl_logging
from etils import epath

from dsh_jax import errors, files

_RETRY_SECS = (0.5, 1, 2, 4)  # Pauses between attempts to read.
# What proves that a file is damaged or gone: errors of the system, of the
# parsers of JSON, and of TensorStore, whose messages say whether bytes could
# not be fetched or not be decoded. Any other error may be transient.
_PROOF_NUMBERS = {errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP}
_PROOF_TYPES = (
  FileNotFoundError,  # Of remote storage, without a number.
  json.JSONDecodeError,
  UnicodeDecodeError,
  KeyError,
)
_PROOF_TEXT = re.compile(
  "(DATA_LOSS|NOT_FOUND|OUT_OF_RANGE): |(FAILED_PRECONDITION: )?Error .*"
  "(Error decoding|ZSTD_decompressStream|Zstd-compressed)"
)

_UNREADABLE = "cannot be read"

Exchange = Callable[[Any], list[Any]]


class DamagedError(ValueError):
  """A checkpoint is not what was written."""


class Checkpoints:
  """Checkpoints of a run: a tree of arrays and a small dict of metadata.

  A checkpoint appears under its final name only when it is complete, and
  carries the SHA-256 of its contents, so that a damaged one is noticed. It is
  hashed and written by one host, in threads, while training goes on.
  """

  def __init__(self, workdir: str, keep: int = 3, read_only: bool = False):
    """Open `workdir`/checkpoints.

    Args:
      workdir: The folder of the run, a path or an address such as gs://BUCKET.
      keep: How many checkpoints to keep, the newest; at least 1.
      read_only: Do not change the folder, for a run that may be in progress and
        for hosts that do not write. Otherwise create it, and remove what a
        killed run left unfinished.

    Raises:
      StorageError: The folder cannot be written.
    """
    self._path = epath.Path(workdir) / "checkpoints"
    if "://" not in str(workdir):
      self._path = epath.Path(self._path.absolute())
    self._read_only = read_only
    self._pending: int | None = None  # The step being written.
    self._writer = futures.ThreadPoolExecutor(1)
    self._begun: futures.Future | None = None  # Orbax writes once it is done.
    self._verbosity = absl_logging.get_verbosity()
    host = jax.process_index()
    # Orbax warns that a folder is only read.
    absl_logging.set_verbosity(min(self._verbosity, absl_logging.ERROR))
    try:
      if not read_only:
        self._path.mkdir(parents=True, exist_ok=True)
      self._manager = ocp.CheckpointManager(
        self._path,
        options=ocp.CheckpointManagerOptions(
          max_to_keep=None if read_only else keep,
          create=False,
          read_only=read_only,
          cleanup_tmp_directories=not read_only,
          enable_async_checkpointing=not read_only,
          # Per host: it never waits for others.
          multiprocessing_options=ocp.options.MultiprocessingOptions(
            primary_host=host,
            active_processes={host},
            barrier_sync_key_prefix=f"host{host}",
          ),
        ),
      )
    except OSError as error:
      raise self._storage_error(error) from error
    finally:
      absl_logging.set_verbosity(self._verbosity)
    self._hook, sys.unraisablehook = sys.unraisablehook, self._unraisable

  def __enter__(self) -> Self:
    return self

  def __exit__(self, kind, error, trace) -> None:
    # An error that is already being raised takes precedence.
    ignored = errors.StorageError if kind is not None else ()
    with contextlib.suppress(ignored):
      self.close()

  def close(self) -> None:
    """Wait for the last checkpoint and release Orbax's threads.

    Raises:
      StorageError: As `wait`.
    """
    try:
      self.wait()
    finally:
      self._writer.shutdown()
      self._manager.close()
      sys.unraisablehook = self._hook

  def _unraisable(self, unraisable):
    # After one thread meets a full disk, all others log this.
    if str(unraisable.exc_value) != "Event loop is closed":
      self._hook(unraisable)

  def save(self, step: int, tree: Any, metadata: dict[str, Any]) -> None:
    """Begin to write host arrays and JSON metadata; no-op if `read_only`.

    The previous checkpoint is on disk when this returns. A damaged one of the
    same step is replaced.

    Args:
      step: Steps taken; names the checkpoint.
      tree: Nested dictionaries and dataclasses of host arrays, which must not
        change until it is on disk.
      metadata: JSON values, without the keys "sha256" and
        "metadata_sha256".

    Raises:
      StorageError: The previous one cannot be written; earlier ones are
        intact.
    """
    if self._read_only:
      return
    self.wait()
    tree = jax.tree.map(np.asarray, tree)
    # Orbax's threads also log, with traces, the error that is raised here.
    absl_logging.set_verbosity(absl_logging.FATAL)
    self._pending = step
    metadata = {**metadata, "metadata_sha256": files.sha256_of_json(metadata)}
    self._begun = self._writer.submit(self._begin, step, tree, metadata)

  def _begin(self, step, tree, metadata):
    if step in self._manager.all_steps():
      self._manager.delete(step)
    args = ocp.args
    self._manager.save(
      step,
      args=args.Composite(
        tree=args.StandardSave(tree),
        run_metadata=args.JsonSave({**metadata, "sha256": digest(tree)}),
      ),
      force=True,
    )

  def check(self) -> None:
    """Raise if the last checkpoint could not be written; do not wait.

    Raises:
      StorageError: It could not; earlier ones are intact.
    """
    if self._pending is None or not self._begun.done():
      return
    if not self._manager.is_saving_in_progress():
      self.wait()

  def wait(self) -> None:
    """Wait until the last checkpoint is on disk.

    Raises:
      StorageError: It cannot be written; earlier ones are intact.
    """
    if self._pending is None:
      return
    try:
      self._begun.result()
      self._manager.wait_until_finished()
      self._manager.check_for_errors()
    except Exception as error:  # Whatever orbax makes of a full disk.
      raise self._end_write(error) from error
    self._end_write()

  def _end_write(self, error=None):
    absl_logging.set_verbosity(self._verbosity)
    step, self._pending = self._pending, None
    return error and self._storage_error(error, step)

  def restore(
    self,
    like: Any,
    exchange: Exchange = lambda content: [content],
    check: Callable[[dict[str, Any]], None] = lambda metadata: None,
  ) -> tuple[Any, dict[str, Any]] | None:
    """Return the newest checkpoint that all hosts can read.

    What is proved damaged is skipped, with a warning when all hosts know it.
    After any other error the read is tried again, and if it never succeeds the
    run ends rather than go back.

    Args:
      like: A tree of host arrays with the structure, shapes and types to
        restore.
      exchange: `hosts.Hosts.exchange`.
      check: Raises UserError unless a checkpoint with this metadata belongs to
        the run; called before its arrays are read.

    Returns:
      (tree of host arrays, metadata), or None without any checkpoint.

    Raises:
      UserError: There are checkpoints, and all are damaged; or that of `check`.
      StorageError: One cannot be read, and nothing proves it damaged; or as
        `wait`.
    """
    self.wait()
    like = jax.tree.map(np.asarray, like)
    listed = exchange(sorted(self._manager.all_steps()))
    reasons = []
    for step in sorted({s for steps in listed for s in steps}, reverse=True):
      tree = metadata = sha = problem = None
      if all(step in steps for steps in listed):
        tree, metadata, sha, problem = self._try_to_read(step, like, check)
      elif step not in listed[jax.process_index()]:
        problem = "is not there"
      told = exchange([sha, problem])
      problems = [
        f"{self._path / str(step)} {problem}{_on(host, told)}"
        for host, (_, problem) in enumerate(told)
        if problem
      ]
      if any(problem.startswith(_UNREADABLE) for _, problem in told if problem):
        raise errors.StorageError(
          f"Checkpoint {'; '.join(problems)}. Give the same command again when"
          " it can be read, or remove it to continue from the one before."
        )
      if not problems and len({sha for sha, _ in told}) == 1:
        for reason in reasons:
          logging.warning("Checkpoint %s. It is skipped.", reason)
        return tree, metadata
      reasons += problems or [
        f"{self._path / str(step)} has SHA-256 {sha}{_on(host, told)}"
        for host, (sha, _) in enumerate(told)
      ]
    if reasons:
      raise errors.UserError(
        f"There is no checkpoint to continue from: {'; '.join(reasons)}."
        " Restore one from a copy, or start again with another --workdir."
      )
    return None

  def _try_to_read(self, step, like, check):
    """Return (tree, metadata, SHA-256, None), or why it cannot be read."""
    for pause in (*_RETRY_SECS, None):
      try:
        return *self._read(step, like, check), None
      except errors.UserError:
        raise
      except Exception as error:  # A damaged file can raise any error.
        reason = errors.describe(error)
        if _is_damage(error):
          return None, None, None, f"is damaged: {reason}"
        if pause is not None:
          time.sleep(pause)
    tries = len(_RETRY_SECS) + 1
    return None, None, None, f"{_UNREADABLE} in {tries} attempts: {reason}"

  def _read(self, step, like, check):
    args = ocp.args
    read = self._manager.restore(
      step, args=args.Composite(run_metadata=args.JsonRestore())
    )
    metadata = dict(read.run_metadata)
    sha, metadata_sha = metadata.pop("sha256"), metadata.pop("metadata_sha256")
    if files.sha256_of_json(metadata) != metadata_sha:
      raise DamagedError("its metadata do not have the recorded SHA-256")
    check(metadata)
    read = self._manager.restore(
      step, args=args.Composite(tree=args.StandardRestore(like))
    )
    tree = jax.tree.map(np.asarray, read.tree)
    if digest(tree) != sha:
      raise DamagedError("it does not have the recorded SHA-256")
    return tree, metadata, sha

  def _storage_error(self, error, step=""):
    return errors.StorageError(
      f"Cannot write the checkpoint {self._path / str(step)}:"
      f" {errors.describe(error)}. Earlier checkpoints are intact; free space"
      " or repair the folder, then give the same command again."
    )


def _on(host, hosts):
  return f" on host {host}" if len(hosts) > 1 else ""


def _is_damage(error: BaseException) -> bool:
  """Whether an error of a read proves that files are damaged or gone."""
  number = errors.system_number(error)
  if number is not None:
    return number in _PROOF_NUMBERS
  if isinstance(error, (DamagedError, *_PROOF_TYPES)):
    return True
  return isinstance(error, ValueError) and bool(_PROOF_TEXT.match(str(error)))


def digest(tree: Any) -> str:
  """Return the SHA-256 of names, types, shapes and bytes of all arrays.

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
