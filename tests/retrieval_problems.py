"""Small random retrieval problems."""

import numpy as np

from dsh_jax.retrieval import codes


def random_items(seed, num_items, num_bits, num_classes, share=0.3):
  """Return packed codes, labels [N, L] and bits [N, K]."""
  rng = np.random.default_rng(seed)
  bits = rng.random((num_items, num_bits)) < 0.5
  labels = rng.random((num_items, num_classes)) < share
  return codes.pack(bits), labels.astype(np.uint8), bits


def joint_histogram(query_bits, database_bits, query_labels, database_labels):
  """Count all pairs in plain NumPy."""
  distances = np.sum(query_bits[:, None] != database_bits[None], axis=2)
  overlaps = np.sum(
    (query_labels[:, None] > 0) & (database_labels[None] > 0), axis=2
  )
  most = min(query_labels.sum(1).max(), database_labels.sum(1).max())
  shape = (len(query_bits), query_bits.shape[1] + 1, most + 1)
  hist = np.zeros(shape, np.int64)
  np.add.at(hist, (np.arange(len(query_bits))[:, None], distances, overlaps), 1)
  return hist
