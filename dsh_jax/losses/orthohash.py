"""OrthoHash: one cosine softmax against fixed class codes."""

import math

import jax
import jax.numpy as jnp

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
  """Makes the loss of OrthoHash.

  o_l is the fixed code of class l (`codebooks`) and z_l = cos(u, o_l). The loss
  is softmax cross-entropy of the logits scale (z_l - margin label_l), with
  target distribution labels / number of labels.

  Reduction: mean over items.

  Source: Hoe et al., "One Loss for All: Deep Hashing with a Single Cosine
  Similarity based Learning Objective", NeurIPS 2021. The paper's head is linear
  without bias, followed by batch normalisation, which balances the bits: set
  the head options head_bias=False, head_batch_norm=True.
  Differences: the codebook is a Hadamard one where it exists (release: always
  Bernoulli, `codebook="bernoulli"`), and of 20 Bernoulli draws the one with
  the farthest codes.

  Args:
    num_bits: K.
    num_classes: L.
    seed: Of the codebook.
    margin: Taken off the cosine of every class that the item has.
    scale: Inverse temperature; 0 stands for sqrt(K).
    codebook: "auto", "hadamard" or "bernoulli".
    activation: A key of `activations.ACTIVATIONS`.

  Returns:
    The loss; term cross_entropy.

  Raises:
    UserError: An unknown codebook or activation, or no Hadamard codebook of
      this size.
  """
  book = codebooks.create_codebook(codebook, num_bits, num_classes, seed)
  temperature = scale or math.sqrt(num_bits)

  def objective(params, codes, labels, step):
    del params, step
    z = similarity.cosine(codes, jnp.asarray(book, codes.dtype))
    log_p = jax.nn.log_softmax(temperature * (z - margin * labels), axis=1)
    target = similarity.label_distribution(labels)
    value = -jnp.mean(jnp.sum(target * log_p, axis=1))
    return value, {"cross_entropy": value}

  return method.Method(
    num_bits=num_bits,
    num_classes=num_classes,
    objective=objective,
    activation=activations.get_activation(activation),
  )
