"""OrthoHash: one cosine softmax against fixed class codes."""

import math

import jax.numpy as jnp
import optax

from dsh_jax.losses import activations, codebooks, method, similarity


def orthohash(
  num_bits: int,
  num_classes: int,
  seed: int,
  *,
  margin: float = 0.2,
  scale: float = 0.0,
  codebook: str = "auto",
  activation: str = "identity",
) -> method.Method:
  """Return the loss of OrthoHash.

  o_l is the fixed code of class l (`codebooks`) and z_l = cos(u, o_l). The loss
  is softmax cross-entropy of the logits scale (z_l - margin label_l), with the
  target distribution labels / number of labels.

  Reduction: mean over items.

  Source: Hoe et al., "One Loss for All: Deep Hashing with a Single Cosine
  Similarity based Learning Objective", NeurIPS 2021. The paper's head is linear
  without bias, followed by batch normalisation, which balances the bits: set
  head_bias=False and head_batch_norm=True.
  Differences: a Hadamard codebook where one exists (release: always Bernoulli,
  `codebook="bernoulli"`); of 20 Bernoulli draws, the one with the largest
  minimum distance.

  Terms: cross_entropy.

  Settings:
    margin: Subtracted from the cosine of every class of the item.
    scale: Inverse temperature, >= 0; 0 selects sqrt(K).
    codebook: "auto", "hadamard" or "bernoulli".
    activation: A key of `activations.ACTIVATIONS`.
  """
  method.check_between("scale", scale, 0)
  book = codebooks.create_codebook(codebook, num_bits, num_classes, seed)
  temperature = scale or math.sqrt(num_bits)

  def objective(params, codes, labels, step):
    z = similarity.cosine(codes, jnp.asarray(book, codes.dtype))
    logits = temperature * (z - margin * labels)
    targets = similarity.label_distribution(labels)
    value = jnp.mean(optax.losses.softmax_cross_entropy(logits, targets))
    return value, {"cross_entropy": value}

  return method.Method(
    num_bits=num_bits,
    num_classes=num_classes,
    objective=objective,
    activation=activations.get_activation(activation),
  )
