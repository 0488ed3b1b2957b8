"""Codes and the real-valued outputs that they are the signs of."""

import numpy as np
import pytest
import stub_network

from dsh_jax.retrieval import codes
from dsh_jax.runs import encoding, scoring


@pytest.mark.parametrize("kind", ["pmap", "jit"])
def test_codes_are_the_signs_of_the_outputs(kind, monkeypatch):
  trainer = stub_network.Trainer(kind, 8)
  weights = trainer.state.params, trainer.state.batch_stats
  images = trainer.images[0]

  def take(rows):
    return images[rows % len(images)]

  encoder = encoding.BatchEncoder(trainer.encode_step, trainer.mesh, 2)
  packed, outputs = encoder.with_outputs(weights, take, 37)
  assert outputs.shape == (37, stub_network.BITS)
  assert outputs.dtype == np.float32 and np.abs(outputs).max() > 0
  np.testing.assert_array_equal(codes.pack(outputs), packed)

  fetched = []
  gather = trainer.mesh.gather
  monkeypatch.setattr(
    trainer.mesh, "gather", lambda x: fetched.append(x.shape) or gather(x)
  )
  np.testing.assert_array_equal(encoder(weights, take, 37), packed)
  # A word of the code and one for NaN; the outputs stay on the devices.
  assert [shape[-1] for shape in fetched] == [2]


def test_outputs_order_what_codes_tie():
  database = np.array([[0.1, 1.0], [1.0, 0.1], [-1.0, 1.0]], np.float32)
  query = np.array([[1.0, 0.2]], np.float32)
  found = scoring.compare_outputs(
    query,
    database,
    codes.pack(query),
    codes.pack(database),
    np.array([[1]]),
    np.array([[0], [1], [0]]),
  )
  assert found["queries"] == 1
  assert found["outputs"] == {"ndcg@100": 1.0, "map@all": 1.0}
  # The relevant item is tied with another: rank 1 or 2.
  assert found["codes"]["map@all"] == pytest.approx(0.75)
