"""Every loss: finite, permutation-invariant, with clear errors."""

import inspect
import math

import jax
import jax.numpy as jnp
import loss_checks
import numpy as np
import pytest

from configs import methods
from dsh_jax import errors, losses
from dsh_jax.losses import activations, codebooks, quantization

B, L = loss_checks.NUM_ITEMS, loss_checks.NUM_CLASSES


def one_hot(indices, num_classes=L):
  return np.eye(num_classes, dtype=np.uint8)[indices]


def corner_batches(loss, rng):
  codes = loss_checks.make_codes(loss, rng)
  mixed = loss_checks.make_labels(rng)
  zeros = np.zeros_like(codes)
  at_zero = np.asarray(loss.activation(zeros, loss_checks.STEP))
  saturated = np.asarray(
    loss.activation(1e4 * np.sign(codes - 0.1), loss_checks.STEP)
  )
  yield "all labels equal", codes, np.ones((B, L), np.uint8)
  yield "one label, all equal", codes, one_hot([0] * B)
  yield "one label each", codes, one_hot(np.arange(B) % L)
  yield "zero logits", at_zero, mixed
  yield "saturated codes", saturated, mixed
  yield "equal codes", np.tile(codes[:1], (B, 1)), mixed
  yield "one item differs", codes, one_hot([0] * (B - 1) + [1])


def assert_finite(name, corner, result):
  for leaf in jax.tree.leaves(result):
    assert np.isfinite(leaf).all(), f"{name}: {corner}"


@pytest.mark.parametrize("name", losses.LOSSES)
def test_finite_in_corner_cases_and_permutation_invariant(name):
  loss, params, function = loss_checks.compiled(name)
  rng = np.random.default_rng(0)
  for corner, codes, labels in corner_batches(loss, rng):
    assert_finite(name, corner, function(params, codes, labels))

  labels = loss_checks.make_labels(rng)
  codes = loss_checks.make_codes(loss, rng)
  order = rng.permutation(B)
  (value, _), (_, gradient) = function(params, codes, labels)
  (permuted, _), (_, permuted_gradient) = function(
    params, codes[order], labels[order]
  )
  np.testing.assert_allclose(permuted, value, rtol=2e-6)
  np.testing.assert_allclose(
    permuted_gradient,
    gradient[order],
    atol=1e-5 * np.abs(gradient).max() + 1e-9,
  )


@pytest.mark.parametrize("name", losses.LOSSES)
def test_two_items_of_one_bit(name):
  loss, params, function = loss_checks.compiled(name, 1, 3)
  rng = np.random.default_rng(0)
  codes = loss_checks.make_codes(loss, rng, num_items=2)
  for labels in (one_hot([0, 0], 3), one_hot([0, 1], 3)):
    assert_finite(name, "B=2, K=1", function(params, codes, labels))
  assert loss.encode(params, codes).shape == (2, 1)


def test_disjoint_labels():
  # More classes than items, so that every pair is disjoint.
  for name in ("idhn", "dsrh", "hashnet", "dtsh", "mihash", "talr_ndcg"):
    loss, params, function = loss_checks.compiled(name, 8, B)
    codes = loss_checks.make_codes(loss, np.random.default_rng(0))
    result = function(params, codes, np.eye(B, dtype=np.uint8))
    assert_finite(name, "all disjoint", result)


# Losses with codes, proxies or a classifier per class: a softmax or a mean over
# all classes depends on their number, and so do drawn codes.
PER_CLASS = {
  "csq",
  "dpn",
  "orthohash",
  "greedyhash",
  "hyp2",
  "classifier_code",
  "bce_sign",
}


@pytest.mark.parametrize("num_classes", [127, 128, 275, 1000])
@pytest.mark.parametrize("name", losses.LOSSES)
def test_unused_labels_do_not_change_the_loss(name, num_classes):
  rng = np.random.default_rng(0)
  few, params, few_function = loss_checks.compiled(name)
  labels, codes = loss_checks.make_labels(rng), loss_checks.make_codes(few, rng)
  (expected, _), _ = few_function(params, codes, labels)
  loss, params, function = loss_checks.compiled(name, num_classes=num_classes)
  if loss.num_outputs != few.num_outputs:
    codes = loss_checks.make_codes(loss, rng)
  padding = ((0, 0), (0, num_classes - L))
  result = function(params, codes, np.pad(labels, padding))
  assert_finite(name, f"L={num_classes}", result)
  if name not in PER_CLASS:
    np.testing.assert_allclose(result[0][0], expected, rtol=1e-6)


@pytest.mark.parametrize("name", ["csq", "dpn"])
def test_unused_labels_do_not_change_the_loss_of_given_codes(name, monkeypatch):
  book = codebooks.create_codebook("bernoulli", 8, 275, 3)
  monkeypatch.setattr(
    codebooks,
    "create_codebook",
    lambda kind, bits, classes, seed: book[:classes],
  )
  rng = np.random.default_rng(0)
  labels = loss_checks.make_labels(rng)
  codes = rng.uniform(-0.9, 0.9, (B, 8)).astype(np.float32)
  few, many = (
    losses.make_loss(name, num_bits=8, num_classes=count, seed=3)(
      {}, codes, np.pad(labels, ((0, 0), (0, count - L)))
    )[0]
    for count in (L, 275)
  )
  np.testing.assert_allclose(many, few, rtol=1e-6)


def test_unknown_names_and_settings_are_refused():
  make = losses.make_loss
  with pytest.raises(errors.UserError, match="'idnh'. Did you mean"):
    make("idnh", num_bits=8, num_classes=3)
  with pytest.raises(errors.UserError, match="Did you mean 'idhn'"):
    make("idhm", num_bits=8, num_classes=3)
  with pytest.raises(errors.UserError, match="mse_weight.*quantization_weight"):
    make("idhn", num_bits=8, num_classes=3, mse=1.0)
  with pytest.raises(errors.UserError, match="finite number"):
    make("idhn", num_bits=8, num_classes=3, mse_weight="much")
  with pytest.raises(errors.UserError, match="finite number"):
    make("idhn", num_bits=8, num_classes=3, mse_weight=math.nan)
  with pytest.raises(errors.UserError, match="top2"):
    make("dsrh", num_bits=8, num_classes=3, normalizer="top3")
  with pytest.raises(errors.UserError, match="softsign"):
    make("idhn", num_bits=8, num_classes=3, activation="relu")
  for bits in (0, 257, 8.0, True):
    with pytest.raises(errors.UserError, match="1 to 256.*config.bits"):
      make("idhn", num_bits=bits, num_classes=3)


@pytest.mark.parametrize(
  ("name", "setting", "values"),
  [
    ("dch", "gamma", (0.0, -5.0)),
    ("hashnet", "positive_weight", (0.0,)),
    ("hashnet", "continuation_rate", (-0.1,)),
    ("hashnet", "continuation_steps", (0,)),
    ("mihash", "bins_per_bit", (0.0, -1.0)),
    ("talr_ap", "bins_per_bit", (-1.0,)),
    ("talr_ndcg", "bins_per_bit", (-1.0,)),
    ("orthohash", "scale", (-1.0,)),
    ("hyp2", "threshold", (-1.1,)),
    ("idhn", "hard_low", (-0.1, 1.1)),
    ("isdh", "hard_high", (1.1,)),
    ("idhn_deephash_pytorch", "hard_high", (-0.1,)),
    *(
      (name, "activation", ("identity", "sigmoid"))
      for name in ("csq", "mihash", "talr_ap", "talr_ndcg")
    ),
  ],
)
def test_settings_out_of_their_limits_are_refused(name, setting, values):
  for value in values:
    with pytest.raises(
      errors.UserError, match=f"config.loss.{setting}.*llowed|llowed.*{setting}"
    ):
      losses.make_loss(name, num_bits=8, num_classes=3, **{setting: value})


def test_signed_activations_have_values_between_minus_one_and_one():
  for name, activation in activations.ACTIVATIONS.items():
    low, high = activation(jnp.asarray([-1e4, 1e4]), 10)
    is_signed = bool(low < -0.99 and low >= -1 and 0.99 < high <= 1)
    assert is_signed == (name in activations.SIGNED)


def test_defaults():
  loss = losses.make_loss("idhn", num_bits=8, num_classes=3, mse_weight=1)
  assert loss.name == "idhn" and loss.num_outputs == 8
  assert loss.settings["mse_weight"] == 1.0
  assert loss.settings["logit_scale"] == 5.0
  assert loss.learning_rate_multiplier == 1.0
  assert loss.init(jax.random.key(0)) == {}
  hyp2 = losses.make_loss("hyp2", num_bits=8, num_classes=3)
  assert hyp2.learning_rate_multiplier == 2.0
  port = losses.make_loss("idhn_deephash_pytorch", num_bits=8, num_classes=3)
  assert port.activation is activations.softsign


def test_wrong_shapes_are_refused():
  loss = losses.make_loss("idhn", num_bits=8, num_classes=3)
  with pytest.raises(ValueError, match=r"expected \[B,8\]"):
    loss({}, jnp.zeros((4, 7)), jnp.zeros((4, 3)))
  with pytest.raises(ValueError, match=r"expected \(4, 3\)"):
    loss({}, jnp.zeros((4, 8)), jnp.zeros((5, 3)))


def test_low_precision_codes_are_computed_in_float32():
  loss = losses.make_loss("dhn", num_bits=8, num_classes=3)
  value, _ = loss({}, jnp.ones((4, 8), jnp.bfloat16), jnp.ones((4, 3)))
  assert value.dtype == jnp.float32


def test_every_loss_has_a_preset_and_a_full_docstring():
  names = set()
  for preset in methods.METHODS.values():
    assert preset["source"]
    losses.make_loss(num_bits=12, num_classes=10, **preset["loss"])
    names.add(preset["loss"]["name"])
  assert names == set(losses.LOSSES)
  for name, factory in losses.LOSSES.items():
    text = inspect.getdoc(factory)
    for part in ("Reduction:", "Source:", "Differences:"):
      assert part in text, f"{name} lacks {part}"
    for setting in losses.default_settings(name):
      assert f"{setting}: " in text, f"{name} does not explain {setting}"


@pytest.mark.parametrize("num_steps", [2, 310, 10_000, 50_000])
def test_hashnet_sharpens_in_proportion_to_the_run(num_steps):
  def make(num_steps):
    return losses.make_loss(
      "hashnet", num_bits=8, num_classes=3, num_steps=num_steps
    )

  u = jnp.asarray([[0.1]])
  activation = jax.jit(make(num_steps).activation)
  for share in (0.0, 0.5, 1.0):
    beta = np.sqrt(1 + 0.005 * 10_000 * share)
    codes = activation(u, np.int32(share * num_steps))
    np.testing.assert_allclose(codes, np.tanh(beta * u), rtol=1e-5)
  # By default, the release's 10,000 steps.
  np.testing.assert_allclose(
    make(None).activation(u, 5000), make(10_000).activation(u, 5000), rtol=1e-6
  )


def test_number_of_steps():
  make = losses.make_loss
  with pytest.raises(errors.UserError, match="number of steps is 0"):
    make("hashnet", num_bits=8, num_classes=3, num_steps=0)
  loss = make("idhn", num_bits=8, num_classes=3, num_steps=5)
  assert loss.activation is activations.tanh


@pytest.mark.parametrize("name", activations.ACTIVATIONS)
def test_activations_keep_the_hash_code(name):
  threshold = 0.5 if name == "sigmoid" else 0.0
  logits = jnp.asarray([[-3.0, -0.1, 0.1, 3.0]])
  codes = activations.get_activation(name)(logits, 10)
  np.testing.assert_array_equal(codes > threshold, logits > 0)


def test_straight_through_sign():
  codes = jnp.asarray([[-2.0, 0.0, 3.0]])
  signs, pullback = jax.vjp(quantization.straight_through_sign, codes)
  np.testing.assert_array_equal(signs, [[-1, -1, 1]])
  np.testing.assert_array_equal(pullback(jnp.full((1, 3), 7.0))[0], [[7] * 3])


def test_log_cosh_does_not_overflow():
  value = quantization.log_cosh(jnp.full((1, 1), 1e4))
  np.testing.assert_allclose(value, 9999 - np.log(2), rtol=1e-6)
