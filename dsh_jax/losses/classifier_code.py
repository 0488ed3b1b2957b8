"""A trivial baseline: hash the probabilities of a multi-label classifier."""

import jax
import jax.numpy as jnp
import numpy as np

from dsh_jax.losses import activations, classifier, method, similarity


def classifier_code(
  num_bits: int, num_classes: int, seed: int
) -> method.Method:
  """Makes a classifier whose output is hashed by random projections.

  The head has L outputs z and no K-bit layer; a class costs
  softplus(z) - label z. The hash code is the sign of sigmoid(z) projected onto
  K fixed random directions.

  Reduction: mean over items and classes.

  Source: Sablayrolles et al., "How should we evaluate supervised hashing?",
  ICASSP 2017.
  Differences: sigmoid probabilities of a multi-label classifier (the paper's is
  a softmax over classes); Gaussian directions.

  Args:
    num_bits: K.
    num_classes: L; also the width of the head.
    seed: Of the directions.

  Returns:
    The loss; term cross_entropy. `encode` gives the projections.
  """
  rng = np.random.default_rng(seed)
  directions = rng.standard_normal((num_bits, num_classes)).astype(np.float32)

  def objective(params, codes, labels, step):
    del params, step
    value = classifier.binary_cross_entropy(codes, labels)
    return value, {"cross_entropy": value}

  def encode(params, logits):
    del params
    probabilities = jax.nn.sigmoid(logits.astype(jnp.float32))
    return similarity.inner_product(probabilities, jnp.asarray(directions))

  return method.Method(
    num_bits=num_bits,
    num_classes=num_classes,
    objective=objective,
    activation=activations.identity,
    num_outputs=num_classes,
    encode=encode,
  )
