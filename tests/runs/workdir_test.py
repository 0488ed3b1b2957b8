"""One run a folder; full disks, read-only and vanished folders."""

import contextlib
import os
import pty
import resource
import shutil
import signal
import subprocess
import sys
import termios
import types

import commands
import numpy as np
import pytest
import tqdm

from dsh_jax import errors
from dsh_jax.runs import checkpoint, logs, workdir

CONFIG = {"bits": 16, "data": {"name": "digits"}}

_HOLDER = """
import sys, time
from dsh_jax.runs import workdir
with workdir.Workdir(sys.argv[1]).claimed({"bits": 16}):
  print("held", flush=True)
  time.sleep(1000)
"""


@contextlib.contextmanager
def _files_of_at_most(num_bytes):
  """Make the system refuse to let any file grow further, as a full disk."""
  before = resource.getrlimit(resource.RLIMIT_FSIZE)
  resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, before[1]))
  try:
    yield
  finally:
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_second_run_is_refused_and_a_dead_one_is_not_in_the_way(
  command, tmp_path
):
  process = subprocess.Popen(
    [sys.executable, "-c", _HOLDER, str(tmp_path)],
    cwd=commands.ROOT,
    env=command.environment,
    stdout=subprocess.PIPE,
    text=True,
  )
  try:
    assert process.stdout.readline() == "held\n"
    with pytest.raises(errors.UserError, match=f"process {process.pid} on"):
      with workdir.Workdir(tmp_path).claimed({"bits": 16}):
        pass
  finally:
    process.send_signal(signal.SIGKILL)
    process.communicate()
  with workdir.Workdir(tmp_path).claimed({"bits": 16}):
    pass
  with workdir.Workdir(tmp_path).claimed({"bits": 16}):
    pass


def test_another_configuration_is_refused_but_not_another_data_folder(tmp_path):
  with workdir.Workdir(tmp_path).claimed({"bits": 16, "data": {"dir": "a"}}):
    pass
  run = workdir.Workdir(tmp_path)
  run.check({"bits": 16, "data": {"dir": "b"}})
  with pytest.raises(errors.UserError, match="config.bits was 16 and is now 8"):
    run.check({"bits": 8, "data": {"dir": "a"}})
  with pytest.raises(errors.UserError, match="a run cannot be given more"):
    run.check({"bits": 16, "train": {"num_epochs": 9}})
  others = {f"a{n}": n for n in range(9)}
  with pytest.raises(errors.UserError) as error:
    run.check({"bits": 8, "method": "dsrh", **others})
  assert "configuration: config.bits was 16" in str(error.value)
  assert "config.method was None" in str(error.value)
  assert "config.a0 was None and is now 0; and 8 more" in str(error.value)


@pytest.mark.parametrize("content", [b"{", b"[]", b"\xff\xfe", b"[" * 10**5])
def test_a_damaged_file_is_named(tmp_path, content):
  (tmp_path / "config.json").write_bytes(content)
  with pytest.raises(errors.UserError, match=r"config\.json is damaged"):
    workdir.Workdir(tmp_path).check(CONFIG)


@pytest.mark.parametrize("replaced", [False, True])
def test_a_vanished_folder_is_told(tmp_path, replaced):
  path = tmp_path / "run"
  run = workdir.Workdir(path)
  with run.claimed(CONFIG):
    run.assert_ours()
    shutil.rmtree(path)
    if replaced:
      path.mkdir()
      (path / "lock").touch()
    with pytest.raises(errors.StorageError, match="removed or replaced"):
      run.write_json("result.json", {})
  assert not (path / "result.json").exists()


def test_what_a_killed_run_left_unfinished_is_removed(tmp_path):
  (tmp_path / "codes.npz.123.partial").touch()
  with workdir.Workdir(tmp_path, writes=False).claimed(CONFIG):
    assert list(tmp_path.glob("*.partial"))
  with workdir.Workdir(tmp_path).claimed(CONFIG):
    assert not list(tmp_path.glob("*.partial"))


def test_checkpoints_that_are_a_file_are_refused(tmp_path):
  (tmp_path / "checkpoints").touch()
  with pytest.raises(errors.UserError, match="checkpoints is not a folder"):
    workdir.Workdir(tmp_path).check(CONFIG)


_LOG_TWICE = """
import pathlib, sys
from dsh_jax.runs import logs
recorded = None
for start, last in ((0, 5), (3, 6)):
  log = logs.Log(
    sys.argv[1],
    start=start,
    total=6,
    images_per_step=1,
    tensorboard=True,
    recorded=recorded,
  )
  for step in range(start + 1, last + 1):
    log.scalars(step, 0.0, {"train/loss": 1.0 * step})
    if step == 3:
      recorded = log.record()
  log.close()
from tensorboard.backend.event_processing import event_file_loader
(path,) = pathlib.Path(sys.argv[1]).glob("events.out.tfevents.*")
for event in event_file_loader.EventFileLoader(str(path)).Load():
  if event.summary.value:
    print(event.step)
"""


def test_a_resumed_run_has_one_tensorboard_file(command, tmp_path):
  out = subprocess.run(
    [sys.executable, "-c", _LOG_TWICE, str(tmp_path)],
    cwd=commands.ROOT,
    env=command.environment,
    capture_output=True,
    text=True,
    check=True,
  ).stdout
  assert out.splitlines() == list("123456")


def test_a_full_disk_leaves_whole_files_and_goes_on_later(tmp_path):
  run = workdir.Workdir(tmp_path)
  with run.claimed(CONFIG):
    run.write_arrays("codes.npz", {"a": np.arange(10)})
    with _files_of_at_most(1000):
      with pytest.raises(errors.StorageError, match=r"codes\.npz: File too"):
        run.write_arrays("codes.npz", {"a": np.arange(1000)})
    with np.load(tmp_path / "codes.npz", allow_pickle=False) as saved:
      np.testing.assert_array_equal(saved["a"], np.arange(10))
    run.write_arrays("codes.npz", {"a": np.arange(1000)})
  assert not list(tmp_path.glob("*.partial"))


def test_a_new_folder_on_a_full_disk_is_refused_and_not_left(tmp_path):
  with _files_of_at_most(10):
    with pytest.raises(errors.UserError, match="File too large"):
      with workdir.Workdir(tmp_path / "run").claimed(CONFIG):
        pass
  assert not list(tmp_path.iterdir())


def test_a_log_on_a_full_disk_is_told_and_continues(tmp_path, capsys):
  with pytest.raises(errors.StorageError, match=r"metrics\.jsonl: File too"):
    with _open_log(tmp_path, 0) as log, _files_of_at_most(500):
      for step in range(1, 99):
        log.scalars(step, 0.0, {"train/loss": 1.0})
        if step == 4:
          held = log.record()
  assert len(capsys.readouterr().err.splitlines()) == 1, "more than an epoch"
  assert 5 < len(commands.read_log(tmp_path)) < 20
  with _open_log(tmp_path, 4, held) as log:
    log.scalars(5, 0.0, {"train/loss": 1.0})
  steps = [line["step"] for line in commands.read_log(tmp_path)]
  assert steps == [1, 2, 3, 4, 5]


def _open_log(folder, start, recorded=None):
  return logs.Log(
    folder,
    start=start,
    total=99,
    images_per_step=1,
    tensorboard=False,
    recorded=recorded,
  )


@pytest.mark.parametrize("damage", ["digit", "line", "none", "unrecorded"])
def test_a_damaged_log_is_set_aside(tmp_path, damage, caplog):
  with _open_log(tmp_path, 0) as log:
    for step in (1, 2):
      log.scalars(step, 0.0, {"train/loss": 1.0})
    held = log.record()
  path = tmp_path / "metrics.jsonl"
  written = path.read_text()
  if damage == "digit":
    path.write_text(written.replace("1.0}", "9.0}", 1))
  elif damage == "line":
    path.write_text(written.splitlines(keepends=True)[1])
  elif damage == "unrecorded":
    held = None
  changed = path.read_text()
  with _open_log(tmp_path, 2, held) as log:
    log.scalars(3, 0.0, {"train/loss": 1.0})
    assert log.record()["num_bytes"] == path.stat().st_size
  steps = [line["step"] for line in commands.read_log(tmp_path)]
  if damage == "none":
    assert steps == [1, 2, 3] and not caplog.text
  else:
    assert steps == [3] and "changed after step 2" in caplog.text
    assert (tmp_path / "metrics.damaged.jsonl").read_text() == changed


@pytest.mark.parametrize(
  "name, old, new",
  [("result.json", "0.5", "0.6"), ("config.json", "16", "17")],
)
def test_a_changed_number_is_refused(tmp_path, name, old, new, caplog):
  run = workdir.Workdir(tmp_path)
  content = {"score": 0.5, "bits": 16, "empty": {}, "pair": (1, 2)}
  run.write_json(name, content)
  assert run.read_json(name) == content | {"pair": [1, 2]}
  text = (tmp_path / name).read_text()
  (tmp_path / name).write_text(text.replace(old, new))
  with pytest.raises(errors.UserError, match=f"{name} was changed after"):
    run.read_json(name)
  (tmp_path / name).write_text('{"a": 1}')  # As version 0.1 wrote it.
  assert run.read_json(name) == {"a": 1} and "unchecked" in caplog.text


def test_a_file_of_another_run_is_refused(tmp_path):
  run = workdir.Workdir(tmp_path)
  run.write_arrays("codes.npz", {"a": np.zeros(3)})
  result = {"files": run.digests("codes.npz", "metrics.jsonl")}
  run.check_files(result, "codes.npz", "metrics.jsonl")
  run.write_arrays("codes.npz", {"a": np.ones(3)})
  with pytest.raises(errors.UserError, match="codes.npz is not the file that"):
    run.check_files(result, "codes.npz")
  (tmp_path / "codes.npz").unlink()
  with pytest.raises(errors.UserError, match="codes.npz is not the file that"):
    run.check_files(result, "codes.npz")
  run.check_files({}, "codes.npz")


def test_a_checkpoint_on_a_full_disk_leaves_the_one_before(tmp_path):
  def noise(seed):
    return {"a": np.random.default_rng(seed).normal(size=(300, 400))}

  def assert_restores(saved, seed):
    found, _ = saved.restore(noise(0))
    np.testing.assert_array_equal(found["a"], noise(seed)["a"])

  with checkpoint.Checkpoints(tmp_path) as saved:
    saved.save(1, noise(1), {})
    saved.wait()
    with _files_of_at_most(100_000):
      with pytest.raises(errors.StorageError, match="checkpoints/2: File too"):
        saved.save(2, noise(2), {})
        saved.wait()
  with checkpoint.Checkpoints(tmp_path) as saved:
    assert_restores(saved, 1)
    saved.save(2, noise(2), {})
    assert_restores(saved, 2)
  names = sorted(p.name for p in (tmp_path / "checkpoints").iterdir())
  assert names == ["1", "2"]


def test_threads_that_find_the_disk_full_print_nothing(tmp_path, monkeypatch):
  printed = []
  monkeypatch.setattr(sys, "unraisablehook", printed.append)
  tree = {
    f"a{n}": np.random.default_rng(n).normal(size=(30, 40)) for n in range(50)
  }
  with checkpoint.Checkpoints(tmp_path) as saved:
    with _files_of_at_most(5_000), pytest.raises(errors.StorageError):
      saved.save(1, tree, {})
      saved.wait()
    # Threads that have not ended yet find the event loop of orbax closed; the
    # first is here in case all have.
    for text in ("Event loop is closed", "other"):
      sys.unraisablehook(types.SimpleNamespace(exc_value=RuntimeError(text)))
  assert [str(x.exc_value) for x in printed] == ["other"]
  assert sys.unraisablehook == printed.append


def test_a_read_only_folder_is_told(tmp_path):
  path = tmp_path / "run"
  path.mkdir()
  path.chmod(0o555)
  user = os.geteuid()
  if user == 0:  # Who may write everywhere.
    os.seteuid(65534)
  try:
    with pytest.raises(errors.UserError, match="Permission denied"):
      with workdir.Workdir(path).claimed(CONFIG):
        pass
  finally:
    os.seteuid(user)


def test_on_a_terminal_the_log_has_a_bar(tmp_path, monkeypatch):
  reader, writer = pty.openpty()
  termios.tcsetwinsize(writer, (24, 80))
  with open(writer, "w") as terminal:
    monkeypatch.setattr(sys, "stderr", terminal)
    now = [1000.0]
    monkeypatch.setattr(tqdm.std, "time", lambda: now[0])
    with logs.Log(
      tmp_path, start=4, total=10, images_per_step=16, tensorboard=False
    ) as log:
      now[0] += 3600  # The first step is compiled.
      log.progress(4)
      now[0] += 2
      log.progress(5)
      log.scalars(5, 0.5, {"train/loss": 1.0})
      log.progress(10)
  shown = b""
  with contextlib.suppress(OSError):  # What a terminal gives at its end.
    while part := os.read(reader, 65536):
      shown += part
  os.close(reader)
  assert b"step 5/10  loss 1" in shown
  assert b"64.0/160 " in shown and b"160/160 " in shown
  assert b"[00:02<00:10," in shown  # Time taken and time left.
