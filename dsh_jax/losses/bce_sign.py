"""A trivial baseline: the signs of a layer below a multi-label classifier."""

from dsh_jax.losses import activations, classifier, method


def bce_sign(
  num_bits: int,
  num_classes: int,
  seed: int,
  *,
  activation: str = "tanh",
  learning_rate_multiplier: float = 1.0,
) -> method.Method:
  """Makes a classifier whose K-unit bottleneck gives the codes.

  A linear classifier (parameters kernel, bias) reads h; a class with logit z
  costs softplus(z) - label z.

  Reduction: mean over items and classes. Nothing pulls h to +-1.

  Source: a control, in the spirit of Sablayrolles et al., "How should we
  evaluate supervised hashing?", ICASSP 2017.
  Differences: none to speak of; the source's baselines encode the classifier's
  output (see `classifier_code`).

  Args:
    num_bits: K.
    num_classes: L.
    seed: Unused; `init` takes its own key.
    activation: A key of `activations.ACTIVATIONS`.
    learning_rate_multiplier: Factor on the classifier's learning rate.

  Returns:
    The loss; term cross_entropy.

  Raises:
    UserError: The activation is unknown.
  """
  del seed

  def objective(params, codes, labels, step):
    del step
    logits = classifier.class_logits(params, codes)
    value = classifier.binary_cross_entropy(logits, labels)
    return value, {"cross_entropy": value}

  return method.Method(
    num_bits=num_bits,
    num_classes=num_classes,
    objective=objective,
    activation=activations.get_activation(activation),
    init=lambda key: classifier.init(key, num_bits, num_classes),
    learning_rate_multiplier=learning_rate_multiplier,
  )
