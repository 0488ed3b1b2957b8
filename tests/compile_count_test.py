"""Programs are compiled only at their first call."""

import contextlib

import jax
import pytest
import stub_network

from dsh_jax.data import batches
from dsh_jax.runs import encoding

_EVENT = "/jax/core/compile/backend_compile_duration"


@contextlib.contextmanager
def _compilations():
  """Collect the seconds of each compilation in the block."""
  durations = []

  def listen(event, seconds, **kwargs):
    if event == _EVENT:
      durations.append(seconds)

  jax.monitoring.register_event_duration_secs_listener(listen)
  try:
    yield durations
  finally:
    jax.monitoring.unregister_event_duration_listener(listen)


@pytest.mark.parametrize("kind", ["pmap", "jit"])
def test_training_and_encoding_compile_once(kind):
  trainer = stub_network.Trainer(kind, 8, num_steps=6)
  encoder = encoding.BatchEncoder(trainer.encode_step, trainer.mesh, 16)

  def train(start, stop):
    state = trainer.state
    for batch in batches.prefetch(
      lambda step: trainer.batch(step, step + 1), start, stop, depth=2
    ):
      state, outcome = trainer.step(state, *batch)
      trainer.mesh.fetch(outcome)
    trainer.state = state

  def encode(num_images):
    images = trainer.images[0]
    weights = trainer.state.params, trainer.state.batch_stats
    packed = encoder(weights, lambda rows: images[rows % 16], num_images)
    assert len(packed) == num_images

  with _compilations() as first:
    train(0, 1)
    encode(16)
  assert first
  with _compilations() as later:
    train(1, 6)
    encode(37)  # The last batch is not full.
    trainer.state = trainer.mesh.replicate(
      trainer.mesh.fetch(trainer.state)
    )  # As after restoring a checkpoint.
    train(0, 2)
  assert later == []
