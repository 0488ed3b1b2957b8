"""Baseline: hash the probabilities of a multi-label classifier."""

import jax
import jax.numpy as jnp
import numpy as np

from dsh_jax.losses import activations, classifier, method, similarity


def classifier_code(
  num_bits: int, num_classes: int, seed: int
) -> method.Method:
  """Return a classifier whose probabilities are hashed by random projection.

  The head has L outputs z and no layer of K bits. A class costs
  softplus(z) - label z. The hash code is the sign of sigmoid(z) projected onto
  K random directions, drawn once from the seed.

  Reduction: mean over items and classes.

  Source: Sablayrolles et al., "How should we evaluate supervised hashing?",
  ICASSP 2017.
  Differences: sigmoid over labels (paper: softmax over classes); Gaussian
  directions.

  Terms: cross_entropy.
  """
  rng = np.random.default_rng(seed)
  directions = rng.standard_normal((num_bits, num_classes)).astype(np.float32)

  def objective(params, codes, labels, step):
    value = classifier.binary_cross_entropy(codes, labels)
    return value, {"cross_entropy": value}

  def encode(params, logits):
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
