"""DTSH: logistic likelihood of triplets."""

from dsh_jax.losses import (
  activations,
  method,
  quantization,
  similarity,
  triplets,
)


def dtsh(
  num_bits: int,
  num_classes: int,
  seed: int,
  *,
  logit_scale: float = 0.5,
  margin_per_bit: float = 0.5,
  quantization_weight: float = 1.0,
  activation: str = "identity",
) -> method.Method:
  """Makes the loss of Deep Triplet Supervised Hashing.

  A triplet is an anchor a, a positive p that shares a label with it (never a
  itself) and a negative n that shares none. With t_xy = logit_scale <u_x,u_y>
  and m = margin_per_bit K it costs softplus(-(t_ap - t_an - m)).

  Reduction: mean over the triplets of an anchor, then over the anchors that
  have any (0 if none has); plus quantization_weight times the mean of
  (u - sign u)^2 over items and bits.

  Source: Wang et al., "Deep Supervised Hashing with Triplet Labels", ACCV 2016.
  Differences: the quantisation term is a mean over items and bits.

  Args:
    num_bits: K.
    num_classes: L.
    seed: Unused; nothing here is random.
    logit_scale: Scale of the logits t.
    margin_per_bit: Margin m divided by K.
    quantization_weight: Weight of the quantisation term.
    activation: A key of `activations.ACTIVATIONS`.

  Returns:
    The loss; terms triplets, quantization (weighted).

  Raises:
    UserError: The activation is unknown.
  """
  del seed

  def objective(params, codes, labels, step):
    del params, step
    similar = similarity.shares_label(labels)
    t = logit_scale * similarity.inner_product(codes, codes)
    sums = triplets.sum_pair_costs(
      -t, *triplets.split_items(similar), margin_per_bit * num_bits
    )
    terms = {
      "triplets": triplets.mean_triplet_cost(sums, similar),
      "quantization": quantization_weight * quantization.squared(codes),
    }
    return terms["triplets"] + terms["quantization"], terms

  return method.Method(
    num_bits=num_bits,
    num_classes=num_classes,
    objective=objective,
    activation=activations.get_activation(activation),
  )
