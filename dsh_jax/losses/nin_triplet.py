"""NINH: hinge on triplets of squared distances."""

from dsh_jax.losses import activations, hinges, method, similarity, triplets


def nin_triplet(
  num_bits: int,
  num_classes: int,
  seed: int,
  *,
  margin: float = 1.0,
  activation: str = "sigmoid",
) -> method.Method:
  """Return the triplet loss of Network-In-Network Hashing.

  A triplet is an anchor a, a positive p that shares a label with it (never a
  itself) and a negative n that shares none. It costs
  max(0, margin + |h_a - h_p|^2 - |h_a - h_n|^2), with h = sigmoid(u) in (0, 1).

  Reduction: mean over the triplets of an anchor, then over the anchors with a
  triplet (0 without any).

  Source: Lai et al., "Simultaneous Feature Learning and Hash Coding with Deep
  Neural Networks", CVPR 2015.
  Differences: all triplets of the batch; a plain dense head (paper: one slice
  of the features per bit, with a piecewise threshold).

  Terms: triplets.

  Settings:
    margin: Margin on squared distances.
    activation: A key of `activations.ACTIVATIONS`.
  """

  def objective(params, codes, labels, step):
    similar = similarity.shares_label(labels)
    distance = similarity.squared_distance(codes)
    others = similarity.off_diagonal(len(codes))
    sums = hinges.sum_hinges(distance, similar, others, margin, lambda s: s)
    value = triplets.mean_cost(sums, similar)
    return value, {"triplets": value}

  return method.Method(
    num_bits=num_bits,
    num_classes=num_classes,
    objective=objective,
    activation=activations.get_activation(activation),
  )
