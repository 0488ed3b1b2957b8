"""Deep supervised hashing for multi-label image retrieval, in JAX and Flax.

Letters in docstrings:

  B  batch                 K  bits of a code          Q  queries
  H, W, C  image           L  label classes           N  database items
  F  features              S  largest number of labels two items share
  P  devices               k  cut-off of a ranking

Terms:

  logit u             output of the head, before its activation
  relaxed code h      after the activation (tanh for most methods)
  hash code b         [h > 0]
  overlap s_ij        number of labels that items i and j share
  soft similarity     cosine of two label vectors
  query, database     items to search for, items to search in
  backbone, head      image -> features, features -> logits
"""

__version__ = "0.2.0"
MAX_BITS = 256  # The largest K.


def load_run(directory: str):
  """Return the finished run in a folder; see `runs.trained.TrainedRun`."""
  from dsh_jax.runs import trained  # Imports JAX.

  return trained.load_run(directory)
