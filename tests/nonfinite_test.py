"""A loss or gradient that is not finite stops the run or skips the step."""

import json
import re

import commands
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import stub_network

from dsh_jax import errors, parallel
from dsh_jax.retrieval import codes
from dsh_jax.runs import encoding

# The network's output overflows after a few steps.
DIVERGE = (
  "--config.optimizer.name=sgd",
  "--config.optimizer.schedule=constant",
  "--config.optimizer.learning_rate=1e5",
)


def test_a_run_stops_and_names_step_metrics_and_images(command, tmp_path):
  arguments = (*commands.SMALL, *DIVERGE, f"--workdir={tmp_path}")
  code, out, err = command.run(*arguments)
  assert (code, out) == (3, ""), err
  message = err.splitlines()[-1]
  match = re.search(
    r"Step ([0-9]+) is not finite: (.*)\. Its images: (.*?)\.", err
  )
  step, values, names = int(match[1]), match[2], match[3].split(", ")
  assert "gradient_norm nan" in values or "of BatchNorm inf" in values
  assert "loss" in values
  assert len(set(names)) == 16
  assert "learning_rate" in message and "on_nonfinite" in message
  assert commands.checkpoints(tmp_path)[-1] < step
  assert commands.read_log(tmp_path)[-1]["step"] == step - 1
  assert not (tmp_path / "result.json").exists()
  # The same command fails again.
  again = command.run(*arguments)
  assert again[0] == 3 and again[2].splitlines()[-1] == message


def test_a_run_can_skip_such_steps(command, tmp_path):
  code, _, err = command.run(
    *commands.SMALL,
    *DIVERGE,
    "--config.train.on_nonfinite=skip",
    "--config.train.log_every_steps=5",
    f"--workdir={tmp_path}",
  )
  assert code == 0, err
  skipped = re.findall(r"Step ([0-9]+) is not finite: .* It is skipped\.", err)
  result = json.loads((tmp_path / "result.json").read_text())
  assert result["num_skipped_steps"] == len(skipped) > 0


def test_codes_that_are_not_finite_are_an_error():
  def encode_step(weights, images):
    return codes.pack_traced(weights * images)

  mesh = parallel.DeviceMesh()
  encoder = encoding.BatchEncoder(encode_step, mesh, batch_size=1)
  images = np.ones((20, 3), np.float32)
  images[:5] = 0  # Times infinity.
  with pytest.raises(errors.NonFiniteError, match="NaN for 5 of 20 images"):
    encoder(mesh.replicate(np.float32(np.inf)), images.__getitem__, 20)


class _BadOnce:
  """A loss that is NaN in its second step."""

  def __init__(self, loss):
    self._loss = loss

  def __getattr__(self, name):
    return getattr(self._loss, name)

  def __call__(self, params, codes, labels, step):
    value, terms = self._loss(params, codes, labels, step=step)
    return jnp.where(step == 1, jnp.nan, 1.0) * value, terms


@pytest.mark.parametrize("skip", [False, True])
def test_a_bad_step_changes_nothing(skip, monkeypatch):
  loss = _BadOnce(stub_network._loss("idhn"))
  monkeypatch.setattr(stub_network, "_loss", lambda method: loss)
  trainer = stub_network.Trainer(skip_nonfinite=skip)
  states = [trainer.mesh.fetch(trainer.state)]
  for step in range(3):
    trainer.state, _ = trainer.compiled(
      trainer.state, *trainer.batch(step, step + 1)
    )
    states.append(trainer.mesh.fetch(trainer.state))

  def weights(state):
    return state.params, state.batch_stats, state.opt_state

  def is_same(one, other):
    leaves = zip(
      jax.tree.leaves(weights(one)),
      jax.tree.leaves(weights(other)),
      strict=True,
    )
    return all(np.array_equal(x, y) for x, y in leaves)

  assert not is_same(states[0], states[1])
  assert is_same(states[1], states[2])
  # With skipping, training continues after the bad step.
  assert is_same(states[2], states[3]) != skip
  assert int(states[3].first_bad_step) == 1
  assert int(states[3].num_skipped) == (1 if skip else 2)
  assert int(states[3].step) == 3
