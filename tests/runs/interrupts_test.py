"""Signals: saved where there is something to save, and continued."""

import re
import signal
import time

import commands
import pytest

from dsh_jax.runs import hosts, interrupts, schedule


@pytest.mark.parametrize(
  "name, code",
  [
    ("SIGTERM", 143),
    pytest.param("SIGINT", 130, marks=pytest.mark.long),
  ],
)
def test_a_signal_saves_the_step_and_the_same_command_continues(
  command, tmp_path, name, code
):
  got, out, err = command.run_and_signal(
    signal.Signals[name], commands.has_logged(4), tmp_path
  )
  assert (got, out) == (code, ""), err
  found = re.search(f"Stopped by {name} after step ([0-9]+), which is", err)
  assert found and "Traceback" not in err, err
  step = int(found[1])
  assert commands.checkpoints(tmp_path)[-1] == step < 16
  got, _, err = command.run(*commands.SMALL, f"--workdir={tmp_path}")
  assert got == 0, err
  assert err.partition("\nstep ")[2].startswith(f"{step + 1}/16"), err
  commands.assert_same_run(tmp_path, command.finished[0])


def test_a_signal_before_training_ends_at_once(command, tmp_path):
  process = command.start(
    *commands.SMALL,
    f"--config.data.dir={tmp_path / 'data'}",
    f"--workdir={tmp_path / 'run'}",
  )
  assert "decoding" in process.stderr.readline()  # Builds 15,000 images.
  for _ in range(20):  # A person who insists.
    process.send_signal(signal.SIGINT)
    time.sleep(0.05)
  _, err = process.communicate(timeout=200)
  assert process.returncode == 130
  assert "Stopped by SIGINT. The same" in err and "Traceback" not in err
  assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_are_raised_or_noted(number):
  before = signal.getsignal(number)
  signals = interrupts.Interrupts(hosts.Hosts())
  with signals.handled():
    with pytest.raises(interrupts.Stopped, match="Stopped by"):
      signal.raise_signal(number)
    with pytest.raises(interrupts.Stopped) as stopped:
      with signals.deferred():
        assert not signals.requested()
        signal.raise_signal(number)
        assert signals.requested()
        with pytest.raises(interrupts.StopRequested):
          signals.check()
    assert stopped.value.code == 128 + number
  assert signal.getsignal(number) == before


def test_a_second_ctrl_c_ends_at_once(capfd):
  signals = interrupts.Interrupts(hosts.Hosts())
  with signals.handled(), pytest.raises(interrupts.Stopped):
    with signals.deferred():
      signal.raise_signal(signal.SIGINT)
      signal.raise_signal(signal.SIGTERM)  # Schedulers repeat themselves.
      with pytest.raises(interrupts.Stopped):
        signal.raise_signal(signal.SIGINT)
  assert "stopping after this step" in capfd.readouterr().err


@pytest.mark.parametrize("size", [1, 2, 3, 5, 100])
def test_groups_are_the_same_whereever_a_run_was_stopped(size):
  saved_at = {4, 7, 8, 16, 23}
  groups = schedule.groups(0, saved_at, size)
  assert [step for group in groups for step in range(*group)] == list(range(23))
  assert saved_at <= {last for _, last in groups}
  for index, (_, last) in enumerate(groups):
    assert schedule.groups(last, saved_at, size) == groups[index + 1 :]
