"""Deep supervised hashing for multi-label image retrieval, in JAX and Flax.

Images go in, codes come out, codes are compared, numbers are printed.

Letters used by every docstring:

  B  batch                 K  bits of a code          Q  queries
  H, W, C  image           L  label classes           N  database items
  F  features              S  largest number of labels two items share
  P  devices               k  cut-off of a ranking

Words:

  logit u             output of the head, before its activation
  relaxed code h      after the activation (tanh unless the method says else)
  hash code b         [h > 0]
  overlap s_ij        number of labels that items i and j share
  soft similarity     cosine of two label vectors
  query, database     what is looked for, and where
  backbone, head      image -> features, features -> logits
"""

__version__ = "0.2.0"
MAX_BITS = 256  # The largest K.


def load_run(directory: str):
  """Returns the finished run in a folder; see `runs.trained.TrainedRun`."""
  from dsh_jax.runs import trained  # Imports JAX.

  return trained.load_run(directory)
