"""DTSH: logistic likelihood of triplets."""

from dsh_jax.losses import (
  activations,
  logistic,
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
  """Return the loss of Deep Triplet Supervised Hashing.

  A triplet is an anchor a, a positive p that shares a label with it (never a
  itself) and a negative n that shares none. With t_xy = logit_scale <u_x,u_y>
  and m = margin_per_bit K it costs softplus(-(t_ap - t_an - m)).

  Reduction: mean over the triplets of an anchor, then over the anchors with a
  triplet (0 without any); plus quantization_weight times the sum over bits,
  mean over items, of (u - sign u)^2.

  Source: Wang et al., "Deep Supervised Hashing with Triplet Labels", ACCV 2016,
  and the authors' release, whose weight of 100 goes with a sum over 22,500
  triplets: 100 / 22500 = 0.00444. DeepHash-pytorch weights the mean over bits
  by 1, which is quantization_weight = 1 / K.
  Differences: all triplets of the batch, averaged per anchor.

  Terms: triplets, quantization (weighted).

  Settings:
    logit_scale: Scale of the logits t.
    margin_per_bit: Margin m divided by K.
    quantization_weight: Weight of the quantisation term.
    activation: A key of `activations.ACTIVATIONS`.
  """

  def objective(params, codes, labels, step):
    similar = similarity.shares_label(labels)
    positives, negatives = triplets.positives_and_negatives(similar)
    t = logit_scale * similarity.inner_product(codes, codes)
    sums = logistic.sum_logistic(
      -t, positives, negatives, margin_per_bit * num_bits
    )
    penalty = quantization_weight * num_bits * quantization.squared(codes)
    terms = {
      "triplets": triplets.mean_cost(sums, similar),
      "quantization": penalty,
    }
    return terms["triplets"] + terms["quantization"], terms

  return method.Method(
    num_bits=num_bits,
    num_classes=num_classes,
    objective=objective,
    activation=activations.get_activation(activation),
  )
