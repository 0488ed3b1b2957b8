"""Check losses against float64 loops; compile each loss once.

A reference is a function (params, codes, labels) -> value. Its finite
differences are the reference of the gradient.
"""

import functools

import jax
import numpy as np

from dsh_jax import losses

NUM_ITEMS, NUM_BITS, NUM_CLASSES, STEP = 9, 8, 5, 7


def make_labels(rng, num_items=NUM_ITEMS, num_classes=NUM_CLASSES):
  """Make labels with equal, overlapping and disjoint pairs, none empty."""
  labels = (rng.random((num_items, num_classes)) < 0.4).astype(np.uint8)
  labels[labels.sum(axis=1) == 0, 0] = 1
  labels[1] = labels[0]
  labels[2] = 1 - labels[0] if labels[0].sum() < num_classes else labels[0]
  return labels


@functools.cache
def compiled(name, num_bits=NUM_BITS, num_classes=NUM_CLASSES, settings=()):
  """Return (loss, params, jitted (params, codes, labels) -> value, grads)."""
  loss = losses.make_loss(
    name, num_bits=num_bits, num_classes=num_classes, seed=3, **dict(settings)
  )
  params = loss.init(jax.random.key(1))

  def value_and_terms(params, codes, labels):
    return loss(params, codes, labels, step=STEP)

  function = jax.value_and_grad(value_and_terms, argnums=(0, 1), has_aux=True)
  return loss, params, jax.jit(function)


def make_codes(loss, rng, num_items=NUM_ITEMS, scale=1.0):
  """Random relaxed codes, float32 [num_items,num_outputs]."""
  logits = rng.normal(size=(num_items, loss.num_outputs)) * scale
  return np.asarray(loss.activation(logits.astype(np.float32), STEP))


def double(tree):
  return jax.tree.map(lambda x: np.asarray(x, np.float64), tree)


def check_value(name, reference, **settings):
  """Check the value to 1e-5 on three batches."""
  loss, params, function = compiled(name, settings=tuple(settings.items()))
  for seed in range(3):
    rng = np.random.default_rng(seed)
    labels = make_labels(rng)
    codes = make_codes(loss, rng)
    (value, terms), _ = function(params, codes, labels)
    assert value.dtype == np.float32 and value.shape == ()
    assert all(term.shape == () for term in terms.values())
    expected = reference(double(params), double(codes), labels)
    np.testing.assert_allclose(value, expected, rtol=1e-5)


def check_gradient(name, reference, surrogate=None, **settings):
  """Check the gradient by finite differences in random directions.

  `surrogate`, for a straight-through loss, maps params, codes and labels to the
  function that has its gradient.
  """
  loss, params, function = compiled(name, settings=tuple(settings.items()))
  rng = np.random.default_rng(11)
  labels = make_labels(rng)
  codes = make_codes(loss, rng)
  _, gradients = function(params, codes, labels)
  gradients, point = double(gradients), (double(params), double(codes))
  if surrogate is not None:
    reference = surrogate(*point, labels)
  scale = np.sqrt(sum((g**2).sum() for g in jax.tree.leaves(gradients)))
  epsilon = 1e-6
  for _ in range(4):
    direction = jax.tree.map(lambda x: rng.normal(size=x.shape), point)
    ends = [
      jax.tree.map(lambda x, d, s=sign: x + s * epsilon * d, point, direction)
      for sign in (1, -1)
    ]
    values = [reference(*end, labels) for end in ends]
    expected = (values[0] - values[1]) / (2 * epsilon)
    products = jax.tree.map(lambda g, d: (g * d).sum(), gradients, direction)
    actual = sum(jax.tree.leaves(products))
    assert abs(actual - expected) < 1e-4 * scale + 1e-7, (actual, expected)
