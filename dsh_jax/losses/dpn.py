"""DPN: hinge of each bit against the codes of the item's classes."""

import jax.numpy as jnp

from dsh_jax.losses import activations, codebooks, method, similarity

_TARGETS = ("labels", "majority")


def dpn(
  num_bits: int,
  num_classes: int,
  seed: int,
  *,
  margin: float = 1.0,
  target: str = "labels",
  codebook: str = "auto",
  activation: str = "identity",
) -> method.Method:
  """Return the loss of Deep Polarized Networks.

  Every class l has a fixed code c_l (`codebooks`). A bit costs

      "labels":   sum over the labels l of the item of max(0, margin - u c_l)
      "majority": max(0, margin - u t), t the majority of these c_l, with ties
                  filled from one fixed random code

  Reduction: mean over items and bits.

  Source: Fan et al., "Deep Polarized Network for Supervised Learning of
  Accurate Binary Hashing Codes", IJCAI 2020; "labels" is the multi-label form
  of the authors' release, "majority" that of DeepHash-pytorch.
  Differences: mean over bits (release: sum, K times as much); the codebooks of
  `csq`, so that the two differ only in the loss (release: signs of Gaussians by
  default); no additional classifier; codes stay fixed during training.

  Terms: polarization.

  Settings:
    margin: Product of a logit and its target from which a bit costs nothing.
    target: "labels" or "majority".
    codebook: "auto", "hadamard" or "bernoulli".
    activation: A key of `activations.ACTIVATIONS`.
  """
  method.check_choice("target", target, _TARGETS)
  book = codebooks.create_codebook(codebook, num_bits, num_classes, seed)
  has_one = book.T > 0
  ties = codebooks.create_tie_breaker(num_bits, seed)

  def by_labels(codes, labels):
    # Labels whose code has a 1, or a -1, at each bit; no array of B x L x K.
    positive = similarity.inner_product(
      labels, jnp.asarray(has_one, labels.dtype)
    )
    negative = jnp.sum(labels, axis=1, keepdims=True) - positive
    cost = positive * jnp.maximum(margin - codes, 0)
    return cost + negative * jnp.maximum(margin + codes, 0)

  def by_majority(codes, labels):
    targets = codebooks.item_targets(labels, book, ties)
    return jnp.maximum(margin - codes * targets, 0)

  cost = by_labels if target == "labels" else by_majority

  def objective(params, codes, labels, step):
    value = jnp.mean(cost(codes, labels))
    return value, {"polarization": value}

  return method.Method(
    num_bits=num_bits,
    num_classes=num_classes,
    objective=objective,
    activation=activations.get_activation(activation),
  )
