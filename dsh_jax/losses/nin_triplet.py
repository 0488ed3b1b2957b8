"""NINH: hinge on triplets of squared distances."""

from dsh_jax.losses import activations, method, similarity, triplets


def nin_triplet(
  num_bits: int,
  num_classes: int,
  seed: int,
  *,
  margin: float = 1.0,
  activation: str = "sigmoid",
) -> method.Method:
  """Makes the triplet loss of Network-In-Network Hashing.

  A triplet is an anchor a, a positive p that shares a label with it (never a
  itself) and a negative n that shares none. It costs
  max(0, margin + |h_a - h_p|^2 - |h_a - h_n|^2), with h = sigmoid(u) in (0, 1).

  Reduction: mean over the triplets of an anchor, then over the anchors that
  have any (0 if none has).

  Source: Lai et al., "Simultaneous Feature Learning and Hash Coding with Deep
  Neural Networks", CVPR 2015.
  Differences: all triplets of the batch; a plain dense head (the paper divides
  the features into one slice per bit and applies a piecewise threshold).

  Args:
    num_bits: K.
    num_classes: L.
    seed: Unused; nothing here is random.
    margin: Margin on squared distances.
    activation: A key of `activations.ACTIVATIONS`.

  Returns:
    The loss; term triplets.

  Raises:
    UserError: The activation is unknown.
  """
  del seed

  def objective(params, codes, labels, step):
    del params, step
    similar = similarity.shares_label(labels)
    distance = similarity.squared_distance(codes)
    sums = triplets.sum_hinges(
      distance,
      similar,
      similarity.off_diagonal(codes.shape[0]),
      margin,
      lambda level: level,
    )
    value = triplets.mean_triplet_cost(sums, similar)
    return value, {"triplets": value}

  return method.Method(
    num_bits=num_bits,
    num_classes=num_classes,
    objective=objective,
    activation=activations.get_activation(activation),
  )
