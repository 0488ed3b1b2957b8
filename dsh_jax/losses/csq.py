"""CSQ: cross-entropy of each bit with the code of the item's classes."""

import jax.numpy as jnp

from dsh_jax.losses import activations, codebooks, method, quantization

# Below this the logarithm is clipped (at -16) and has no gradient.
_MIN_PROBABILITY = 1e-7


def csq(
  num_bits: int,
  num_classes: int,
  seed: int,
  *,
  quantization_weight: float = 0.05,
  codebook: str = "auto",
  activation: str = "tanh",
) -> method.Method:
  """Return the loss of Central Similarity Quantization.

  Every class has a fixed code (`codebooks`). The target of an item is the
  bitwise majority of the codes of its classes; ties are filled from one fixed
  random code. With p = (h + 1)/2 and g = (target + 1)/2, a bit costs
  -g log p - (1 - g) log(1 - p).

  Reduction: mean over items and bits; plus quantization_weight times the mean
  of (|h| - 1)^2.

  Source: Yuan et al., "Central Similarity Quantization for Efficient Image and
  Video Retrieval", CVPR 2020; the weight 0.05 is that of the commands in the
  authors' release (DeepHash-pytorch: 1e-4).
  Differences: the bits of Bernoulli codes are independent (release: half of
  them are set, redrawn until the codes are far apart); p and 1 - p are at least
  1e-7.

  Terms: cross_entropy, quantization (weighted).

  Settings:
    quantization_weight: Weight of the quantisation term.
    codebook: "auto", "hadamard" or "bernoulli".
    activation: "tanh", "softsign" or "tanh_continuation": codes in (-1, 1).
  """
  method.check_choice("activation", activation, activations.SIGNED)
  book = codebooks.create_codebook(codebook, num_bits, num_classes, seed)
  ties = codebooks.create_tie_breaker(num_bits, seed)

  def objective(params, codes, labels, step):
    targets = codebooks.item_targets(labels, book, ties)
    # Probability of the target's bit.
    probability = jnp.maximum((1 + targets * codes) / 2, _MIN_PROBABILITY)
    terms = {
      "cross_entropy": -jnp.mean(jnp.log(probability)),
      "quantization": quantization_weight * quantization.squared(codes),
    }
    return terms["cross_entropy"] + terms["quantization"], terms

  return method.Method(
    num_bits=num_bits,
    num_classes=num_classes,
    objective=objective,
    activation=activations.get_activation(activation),
  )
