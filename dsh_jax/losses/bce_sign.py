"""Baseline: the signs of the layer below a multi-label classifier."""

from dsh_jax.losses import activations, classifier, method


def bce_sign(
  num_bits: int,
  num_classes: int,
  seed: int,
  *,
  activation: str = "tanh",
  learning_rate_multiplier: float = 1.0,
) -> method.Method:
  """Return a classifier with a bottleneck of K units, whose signs are the code.

  A linear classifier (parameters kernel, bias) reads h. A class with logit z
  costs softplus(z) - label z. Nothing pulls h to +-1.

  Reduction: mean over items and classes.

  Source: a control, after Sablayrolles et al., "How should we evaluate
  supervised hashing?", ICASSP 2017.
  Differences: the source encodes the classifier's output (see
  `classifier_code`).

  Terms: cross_entropy.

  Settings:
    activation: A key of `activations.ACTIVATIONS`.
    learning_rate_multiplier: Factor on the classifier's learning rate.
  """

  def objective(params, codes, labels, step):
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
