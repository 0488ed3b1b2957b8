"""DPN: hinge of each bit against the code of the item's classes."""

import jax.numpy as jnp

from dsh_jax.losses import activations, codebooks, method


def dpn(
  num_bits: int,
  num_classes: int,
  seed: int,
  *,
  margin: float = 1.0,
  codebook: str = "auto",
  activation: str = "identity",
) -> method.Method:
  """Makes the loss of Deep Polarized Networks.

  Every class has a fixed code (`codebooks`); the target of an item is the
  majority of the codes of all its classes, ties filled from one fixed random
  code. A bit costs max(0, margin - u * target).

  Reduction: mean over items and bits.

  Source: Fan et al., "Deep Polarized Network for Supervised Learning of
  Accurate Binary Hashing Codes", IJCAI 2020.
  Differences: the same codebooks as `csq`, so that the two differ in the loss
  alone; targets are not updated during training.

  Args:
    num_bits: K.
    num_classes: L.
    seed: Of the codebook and the tie-breaking code.
    margin: Least product of a logit and its target that costs nothing.
    codebook: "auto", "hadamard" or "bernoulli".
    activation: A key of `activations.ACTIVATIONS`.

  Returns:
    The loss; term polarization.

  Raises:
    UserError: An unknown codebook or activation, or no Hadamard codebook of
      this size.
  """
  book = codebooks.create_codebook(codebook, num_bits, num_classes, seed)
  ties = codebooks.create_tie_breaker(num_bits, seed)

  def objective(params, codes, labels, step):
    del params, step
    targets = codebooks.item_targets(labels, book, ties)
    value = jnp.mean(jnp.maximum(margin - codes * targets, 0))
    return value, {"polarization": value}

  return method.Method(
    num_bits=num_bits,
    num_classes=num_classes,
    objective=objective,
    activation=activations.get_activation(activation),
  )
