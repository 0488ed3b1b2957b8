"""Losses with class codes, proxies or classifiers against float64 loops."""

import jax
import loss_checks
import numpy as np
import pytest

from dsh_jax import errors, losses
from dsh_jax.losses import codebooks, hyp2

K, L = loss_checks.NUM_BITS, loss_checks.NUM_CLASSES
SEED = 3  # That of loss_checks.compiled.


def target_codes(labels):
  """Return the majority vote of the class codes, bit by bit."""
  book = codebooks.create_codebook("auto", K, L, SEED)
  ties = codebooks.create_tie_breaker(K, SEED)
  targets = np.zeros((len(labels), K))
  for i, row in enumerate(labels):
    for k in range(K):
      votes = sum(book[c, k] for c in range(L) if row[c])
      targets[i, k] = ties[k] if votes == 0 else np.sign(votes)
  return targets


def csq(params, codes, labels):
  p, g = (codes + 1) / 2, (target_codes(labels) + 1) / 2
  cross_entropy = -(g * np.log(p) + (1 - g) * np.log(1 - p))
  return cross_entropy.mean() + 0.05 * ((np.abs(codes) - 1) ** 2).mean()


def dpn(params, codes, labels):
  book = codebooks.create_codebook("auto", K, L, SEED)
  hinges = np.maximum(0, 1 - codes[:, None, :] * book)  # [B,L,K]
  return (hinges * labels[:, :, None]).sum(axis=(1, 2)).mean() / K


def dpn_majority(params, codes, labels):
  return np.maximum(0, 1 - codes * target_codes(labels)).mean()


def cosine(x, y):
  return x @ y / np.sqrt((x @ x) * (y @ y))


def softmax_cross_entropy(logits, labels):
  total = 0.0
  for z, row in zip(logits, labels, strict=True):
    log_p = z - np.log(np.exp(z - z.max()).sum()) - z.max()
    total -= sum(log_p[c] for c in range(L) if row[c]) / row.sum()
  return total / len(labels)


def orthohash(params, codes, labels):
  book = codebooks.create_codebook("auto", K, L, SEED).astype(np.float64)
  z = np.array([[cosine(u, o) for o in book] for u in codes])
  return softmax_cross_entropy(np.sqrt(K) * (z - 0.2 * labels), labels)


def greedyhash_parts(params, inputs, codes, signs, labels):
  assert set(params) == {"kernel"}
  logits = inputs @ params["kernel"]
  return (
    softmax_cross_entropy(logits, labels)
    + 0.1 * (np.abs(codes - signs) ** 3).mean()
  )


def greedyhash(params, codes, labels):
  signs = np.where(codes > 0, 1.0, -1.0)
  return greedyhash_parts(params, signs, codes, signs, labels)


def greedyhash_surrogate(params, codes, labels):
  signs = np.where(codes > 0, 1.0, -1.0)

  def function(moved_params, moved, labels):
    inputs = signs + (moved - codes)
    return greedyhash_parts(moved_params, inputs, moved, signs, labels)

  return function


def make_hyp2(zeta):
  def reference(params, codes, labels):
    positive, negative, pairs = [], [], []
    for u, row in zip(codes, labels, strict=True):
      for p, has in zip(params["proxies"], row, strict=True):
        z = cosine(u, p)
        if has:
          positive.append(1 - z)
        else:
          negative.append(max(0.0, z - zeta))
    labels = labels.astype(int)
    for i in range(len(codes)):
      for j in range(len(codes)):
        several = labels[i].sum() > 1 and labels[j].sum() > 1
        if several and labels[i] @ labels[j] == 0:
          pairs.append(max(0.0, cosine(codes[i], codes[j]) - zeta))
    pair_term = 0.5 * np.mean(pairs) if pairs else 0.0
    return np.mean(positive) + np.mean(negative) + pair_term

  return reference


def binary_cross_entropy(z, labels):
  p = 1 / (1 + np.exp(-z))
  return -np.where(labels > 0, np.log(p), np.log(1 - p)).mean()


def classifier_code(params, codes, labels):
  return binary_cross_entropy(codes, labels)


def bce_sign(params, codes, labels):
  return binary_cross_entropy(codes @ params["kernel"] + params["bias"], labels)


REFERENCES = {
  "csq": csq,
  "dpn": dpn,
  "orthohash": orthohash,
  "greedyhash": greedyhash,
  # L = 5 needs dimension 3; at K = 8 the distance is 4.
  "hyp2": make_hyp2(0.0),
  "classifier_code": classifier_code,
  "bce_sign": bce_sign,
}


@pytest.mark.parametrize("name", REFERENCES)
def test_equals_loop(name):
  surrogate = greedyhash_surrogate if name == "greedyhash" else None
  loss_checks.check_value(name, REFERENCES[name])
  loss_checks.check_gradient(name, REFERENCES[name], surrogate)


def test_dpn_with_majority_targets_equals_loop():
  loss_checks.check_value("dpn", dpn_majority, target="majority")
  loss_checks.check_gradient("dpn", dpn_majority, target="majority")


@pytest.mark.parametrize("threshold", [0.25, -0.25])
def test_hyp2_with_a_threshold(threshold):
  loss_checks.check_value("hyp2", make_hyp2(threshold), threshold=threshold)


# bits, classes, zeta of the paper and of the release's table.
HYP2_THRESHOLDS = [
  (12, 21, 0.333),
  (36, 20, 0.056),
  (64, 20, 0.0),
  (12, 38, 0.333),
  (16, 38, 0.25),
  (24, 38, 0.167),
  (36, 38, 0.111),
  (48, 10, 0.0),
  (12, 2, -1.0),
  (12, 4, -0.333),
  (18, 4, -0.333),
  (64, 1000, 1 - 2 * 28 / 64),
  (256, 1024, 1 - 2 * 124 / 256),
]


@pytest.mark.parametrize("num_bits,num_classes,zeta", HYP2_THRESHOLDS)
def test_hyp2_takes_zeta_from_the_table(num_bits, num_classes, zeta):
  distance = hyp2.code_distance(num_bits, num_classes)
  np.testing.assert_allclose(1 - 2 * distance / num_bits, zeta, atol=5e-4)


@pytest.mark.parametrize(
  "num_bits,num_classes,distance",
  [
    (1, 2, 1),  # Lengths below 4.
    (2, 3, 1),
    (3, 4, 2),
    (8, 1, 8),  # One class counts as two.
    (1, 10, 0),  # More classes than codes.
    (8, 300, 0),
    (8, 257, 0),
    # Griesmer: dimension 11 and distance 12 need 12+6+3+2+1+...+1 = 30 bits.
    (30, 2000, 12),
    (29, 2000, 11),
  ],
)
def test_hyp2_distances_outside_the_table(num_bits, num_classes, distance):
  assert hyp2.code_distance(num_bits, num_classes) == distance


def test_hyp2_distances_satisfy_known_bounds():
  for num_bits in range(4, 257):
    distances = [
      hyp2.code_distance(num_bits, 2**k)
      for k in range(1, min(num_bits, 10) + 1)
    ]
    assert distances[0] == num_bits  # Repetition.
    assert all(np.diff(distances) <= 0)
    for k, d in enumerate(distances, start=1):
      assert sum(-(-d // 2**i) for i in range(k)) <= num_bits  # Griesmer.


def test_hadamard_codes_are_orthogonal_or_opposite():
  book = codebooks.create_codebook("hadamard", 16, 20, seed=0)
  product = book @ book.T
  np.testing.assert_array_equal(product[:16, :16], 16 * np.eye(16))
  np.testing.assert_array_equal(book[16:], -book[:4])


def test_bernoulli_codes_depend_on_the_seed_alone():
  first = codebooks.create_codebook("bernoulli", 12, 10, seed=1)
  again = codebooks.create_codebook("auto", 12, 10, seed=1)
  other = codebooks.create_codebook("bernoulli", 12, 10, seed=2)
  np.testing.assert_array_equal(first, again)
  assert (first != other).any()
  assert set(np.unique(first)) == {-1, 1}
  assert len(np.unique(first, axis=0)) == 10


@pytest.mark.parametrize("bits", [12, 4])
def test_no_hadamard_codebook_of_this_size(bits):
  with pytest.raises(errors.UserError, match=f"{bits} bits for 20 classes"):
    codebooks.create_codebook("hadamard", bits, 20, seed=0)


def test_every_label_of_an_item_counts():
  # Ports that take the argmax see only the first label.
  for name in ("csq", "dpn", "orthohash", "greedyhash"):
    loss, params, function = loss_checks.compiled(name)
    codes = loss_checks.make_codes(loss, np.random.default_rng(0))
    one, two = np.zeros((2, len(codes), L), np.uint8)
    one[:, 0] = two[:, :2] = 1
    values = [function(params, codes, y)[0][0] for y in (one, two)]
    assert abs(values[0] - values[1]) > 1e-4, name


def test_classifier_code_encodes_probabilities():
  loss = losses.make_loss("classifier_code", num_bits=7, num_classes=3, seed=1)
  assert loss.num_outputs == 3
  logits = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
  codes = jax.jit(loss.encode)({}, logits)
  directions = np.random.default_rng(1).standard_normal((7, 3))
  expected = 1 / (1 + np.exp(-logits)) @ directions.T
  np.testing.assert_allclose(codes, expected, rtol=1e-4, atol=1e-6)
