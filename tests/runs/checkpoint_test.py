"""Checkpoints survive damage, and say so."""

import errno
import logging
import os
import pathlib
import threading

import jax
import numpy as np
import pytest
from absl import logging as absl_logging

from dsh_jax import errors
from dsh_jax.runs import checkpoint


def _tree(seed):
  rng = np.random.default_rng(seed)
  return {
    "a": rng.normal(size=(50, 40)).astype(np.float32),
    "b": {"step": np.int32(seed), "none": {}},
  }


def _assert_equal(got, want):
  for x, y in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
    np.testing.assert_array_equal(x, y)


def _save_two(workdir):
  saved = checkpoint.Checkpoints(workdir)
  assert saved.restore(_tree(0)) is None
  for step in (1, 2):
    saved.save(step, _tree(step), {"score": step / 10})
  saved.close()


def _largest_file(workdir, step):
  files = pathlib.Path(workdir, "checkpoints", str(step), "tree").rglob("*")
  return max((f for f in files if f.is_file()), key=lambda f: f.stat().st_size)


def test_newest_checkpoint_comes_back_bit_for_bit(tmp_path):
  _save_two(tmp_path)
  saved = checkpoint.Checkpoints(tmp_path)
  tree, metadata = saved.restore(_tree(0))
  saved.close()
  _assert_equal(tree, _tree(2))
  assert metadata == {"score": 0.2}


@pytest.mark.parametrize("damage", ["truncate", "flip", "remove"])
def test_damaged_checkpoint_is_named_and_skipped(tmp_path, damage, caplog):
  _save_two(tmp_path)
  file = _largest_file(tmp_path, 2)
  content = bytearray(file.read_bytes())
  if damage == "truncate":
    file.write_bytes(content[: len(content) // 2])
  elif damage == "flip":
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
  else:
    file.unlink()
  saved = checkpoint.Checkpoints(tmp_path)
  with caplog.at_level(logging.WARNING):
    tree, metadata = saved.restore(_tree(0))
  saved.close()
  _assert_equal(tree, _tree(1))
  assert metadata == {"score": 0.1}
  assert "checkpoints/2 is damaged" in caplog.text


def test_all_damaged_is_an_error_not_a_fresh_start(tmp_path):
  _save_two(tmp_path)
  for step in (1, 2):
    _largest_file(tmp_path, step).unlink()
  saved = checkpoint.Checkpoints(tmp_path)
  with pytest.raises(
    errors.UserError, match="/2 is damaged: .*/1 is damaged: "
  ):
    saved.restore(_tree(0))
  saved.close()


def test_a_flipped_bit_in_the_metadata_is_noticed(tmp_path, caplog):
  _save_two(tmp_path)
  file = tmp_path / "checkpoints" / "2" / "run_metadata" / "metadata"
  file.write_text(file.read_text().replace("0.2", "0.3"))
  with checkpoint.Checkpoints(tmp_path) as saved:
    with caplog.at_level(logging.WARNING):
      _, metadata = saved.restore(_tree(0))
  assert (
    metadata == {"score": 0.1} and "checkpoints/2 is damaged" in caplog.text
  )


def test_a_damaged_checkpoint_is_replaced_when_its_step_comes_again(tmp_path):
  _save_two(tmp_path)
  _largest_file(tmp_path, 2).unlink()
  with checkpoint.Checkpoints(tmp_path) as saved:
    saved.restore(_tree(0))
    saved.save(2, _tree(7), {"score": 0.7})
  with checkpoint.Checkpoints(tmp_path) as saved:
    tree, metadata = saved.restore(_tree(0))
  _assert_equal(tree, _tree(7))
  assert metadata == {"score": 0.7}


def test_reading_changes_nothing(tmp_path):
  with checkpoint.Checkpoints(tmp_path / "none", read_only=True) as saved:
    assert saved.restore(_tree(0)) is None
  assert not list(tmp_path.iterdir())
  _save_two(tmp_path)
  half = tmp_path / "checkpoints" / "3.orbax-checkpoint-tmp"
  half.mkdir()  # A run that is writing meanwhile.
  before = sorted(tmp_path.rglob("*"))
  with checkpoint.Checkpoints(tmp_path, read_only=True) as saved:
    _assert_equal(saved.restore(_tree(0))[0], _tree(2))
  assert sorted(tmp_path.rglob("*")) == before
  with checkpoint.Checkpoints(tmp_path) as saved:
    _assert_equal(saved.restore(_tree(0))[0], _tree(2))
  assert not half.exists()


def test_digest_sees_every_bit_and_every_name():
  tree = _tree(0)
  digests = {checkpoint.digest(tree)}
  changed = {**tree, "a": tree["a"].copy()}
  changed["a"][3, 4] = np.nextafter(changed["a"][3, 4], np.float32(9))
  digests.add(checkpoint.digest(changed))
  digests.add(checkpoint.digest({"c": tree["a"], "b": tree["b"]}))
  assert len(digests) == 3


@pytest.fixture
def failing_reads(monkeypatch):
  """Errors that the next reads end with, and the pauses after them."""
  failures, pauses = [], []
  read = checkpoint.Checkpoints._read

  def read_or_fail(*arguments):
    if failures:
      raise failures.pop(0)
    return read(*arguments)

  monkeypatch.setattr(checkpoint.Checkpoints, "_read", read_or_fail)
  monkeypatch.setattr(checkpoint.time, "sleep", pauses.append)
  return failures, pauses


def _system_error(number):
  return OSError(number, os.strerror(number))


def test_a_transient_error_is_tried_again(tmp_path, failing_reads):
  _save_two(tmp_path)
  failures, pauses = failing_reads
  failures += map(_system_error, (errno.EIO, errno.ESTALE, errno.EAGAIN))
  with checkpoint.Checkpoints(tmp_path) as saved:
    assert saved.restore(_tree(0))[1] == {"score": 0.2}
  assert pauses == [0.5, 1, 2] and not failures


_READING = 'Error reading "a/0.0" in OCDBT database at "gs://zstd/1/": '


@pytest.mark.parametrize(
  "error",
  [
    _system_error(errno.EIO),
    _system_error(errno.EACCES),
    OSError("read failed"),
    TimeoutError("read timed out"),
    ConnectionError("reset by peer"),
    MemoryError(),
    RuntimeError("INTERNAL: DATA_LOSS: "),
    ValueError(f"PERMISSION_DENIED: {_READING}HTTP response code: 403"),
    ValueError(f"INTERNAL: {_READING}curl error"),
    ValueError(f"UNKNOWN: {_READING}HTTP 503, Error decoding the body"),
    ValueError(f"FAILED_PRECONDITION: {_READING}HTTP response code: 412"),
    ValueError("UNAVAILABLE: [os_error_code='5']"),
    ValueError("what nobody has seen before"),
  ],
  ids=str,
)
def test_an_error_that_proves_nothing_loses_no_step(
  tmp_path, failing_reads, error
):
  _save_two(tmp_path)
  failures, pauses = failing_reads
  failures += [error] * 5
  with checkpoint.Checkpoints(tmp_path) as saved:
    with pytest.raises(
      errors.StorageError, match="/2 cannot be read in 5 attempts: .+ Give the"
    ):
      saved.restore(_tree(0))
    assert pauses == [0.5, 1, 2, 4]
    assert saved.restore(_tree(0))[1] == {"score": 0.2}


@pytest.mark.parametrize(
  "error",
  [
    _system_error(errno.ENOENT),
    FileNotFoundError("File gs://bucket/2 not found."),
    ValueError(f"NOT_FOUND: {_READING}"),
    ValueError(f"OUT_OF_RANGE: {_READING}Requested byte range [0, 9)"),
    ValueError(f"DATA_LOSS: {_READING}Error decoding"),
    ValueError(f"{_READING}Error decoding manifest: End of data expected"),
    ValueError(f"FAILED_PRECONDITION: {_READING}ZSTD_decompressStream() fail"),
  ],
  ids=str,
)
def test_a_proof_of_damage_is_not_tried_again(
  tmp_path, failing_reads, caplog, error
):
  _save_two(tmp_path)
  failures, pauses = failing_reads
  failures += [error]
  with checkpoint.Checkpoints(tmp_path) as saved:
    with caplog.at_level(logging.WARNING):
      assert saved.restore(_tree(0))[1] == {"score": 0.1}
  assert not pauses and "/2 is damaged: " in caplog.text


def test_training_goes_on_while_a_checkpoint_is_hashed(tmp_path, monkeypatch):
  allowed = threading.Event()
  digest = checkpoint.digest
  monkeypatch.setattr(
    checkpoint, "digest", lambda tree: allowed.wait(60) and digest(tree)
  )
  with checkpoint.Checkpoints(tmp_path) as saved:
    metadata = {"score": 0.1}
    saved.save(1, _tree(1), metadata)
    metadata["score"] = 0.2  # The run goes on.
    saved.check()
    assert not list((tmp_path / "checkpoints").iterdir())
    allowed.set()
    assert saved.restore(_tree(0))[1] == {"score": 0.1}


def test_training_goes_on_while_a_checkpoint_is_written(tmp_path, monkeypatch):
  allowed = threading.Event()
  manager = checkpoint.ocp.CheckpointManager
  finalize = manager._finalize
  monkeypatch.setattr(
    manager,
    "_finalize",
    lambda *arguments: allowed.wait(60) and finalize(*arguments),
  )
  with checkpoint.Checkpoints(tmp_path) as saved:
    saved.save(1, _tree(1), {"score": 0.1})
    saved.check()  # The write has not ended.
    allowed.set()
    saved.wait()
    assert saved.restore(_tree(0))[1] == {"score": 0.1}


def test_a_folder_is_read_without_warnings_of_orbax(tmp_path, caplog):
  _save_two(tmp_path)
  verbosity = absl_logging.get_verbosity()
  absl_logging.set_verbosity(absl_logging.WARNING)
  try:
    checkpoint.Checkpoints(tmp_path, read_only=True).close()
    assert absl_logging.get_verbosity() == absl_logging.WARNING
  finally:
    absl_logging.set_verbosity(verbosity)
  assert caplog.records == []
