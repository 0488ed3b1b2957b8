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
  quantization_weight: float = 0.00444,
  activation: str = "identity",
) -> method.Method:
  """Makes the loss of Deep Triplet Supervised Hashing.

  A triplet is an anchor a, a positive p that shares a label with it (never a
  itself) and a negative n that shares none. With t_xy = logit_scale <u_x,u_y>
  and m = margin_per_bit K it costs softplus(-(t_ap - t_an - m)).

  Reduction: mean over the triplets of an anchor, then over the anchors that
  have any (0 if none has); plus quantization_weight times the sum over bits,
  mean over items, of (u - sign u)^2.

  Source: Wang et al., "Deep Supervised Hashing with Triplet Labels", ACCV 2016,
  and the authors' release, whose weight 100 stands beside a sum over 22,500
  triplets: 100 / 22500 = 0.00444. DeepHash-pytorch weighs the mean over bits
  with 1, that is quantization_weight = 1 / K.
  Differences: all triplets of the batch, and a mean over each anchor's.

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

  weight_of_mean = quantization_weight * num_bits

  def objective(params, codes, labels, step):
    del params, step
    similar = similarity.shares_label(labels)
    t = logit_scale * similarity.inner_product(codes, codes)
    sums = triplets.sum_pair_costs(
      -t, *triplets.split_items(similar), margin_per_bit * num_bits
    )
    terms = {
      "triplets": triplets.mean_triplet_cost(sums, similar),
      "quantization": weight_of_mean * quantization.squared(codes),
    }
    return terms["triplets"] + terms["quantization"], terms

  return method.Method(
    num_bits=num_bits,
    num_classes=num_classes,
    objective=objective,
    activation=activations.get_activation(activation),
  )
